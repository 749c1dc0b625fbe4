package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roundtable/fsm"
)

func FuzzReadHello(f *testing.F) {
	var b bytes.Buffer
	if err := writeHello(&b, hello{kindRaft, "m1", "m2", "group/m1"}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("F\x02m1\x00\x00"))
	f.Add([]byte("R\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := readHello(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeHello(&out, h); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(in, out.Bytes()) {
			t.Fatalf("%q was read as %+v", in, h)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	if err := writeFrame(&b, request{Number: 1, Op: opPropose, Entry: json.RawMessage(`{"v":1}`), LimitMs: 5}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(t *testing.T, in []byte) {
		var req request
		if err := readFrame(bytes.NewReader(in), &req); err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeFrame(&out, req); err != nil {
			t.Fatal(err)
		}
		var again request
		if err := readFrame(&out, &again); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFrames(t *testing.T) {
	frame := func(body string) []byte {
		n := len(body)
		return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	}
	for name, tc := range map[string]struct {
		in []byte
		ok bool
	}{
		"good":          {frame(`{"n":1,"op":"barrier","limit_ms":5}`), true},
		"unknown field": {frame(`{"n":1,"op":"barrier","limit_ms":5,"x":1}`), false},
		"two values":    {frame(`{"n":1}{"n":2}`), false},
		"empty":         {frame(``), false},
		"too long":      {[]byte{0x7f, 0, 0, 0, '{', '}'}, false},
		"cut":           {frame(`{"n":1}`)[:6], false},
	} {
		var req request
		if err := readFrame(bytes.NewReader(tc.in), &req); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	var out bytes.Buffer
	if err := writeFrame(&out, response{Text: strings.Repeat("x", maxFrame)}); err == nil {
		t.Error("a frame beyond the limit was written")
	}
}

func TestWelcome(t *testing.T) {
	var b bytes.Buffer
	if err := writeWelcome(&b, nil); err != nil || readWelcome(&b) != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("no ", 200)
	if err := writeWelcome(&b, errors.New(long)); err != nil {
		t.Fatal(err)
	}
	if err := readWelcome(&b); err == nil || !strings.Contains(err.Error(), "no no") || b.Len() != 0 {
		t.Fatalf("%v, %d bytes left", err, b.Len())
	}
}

// TestEntryVersionGate: a kind is proposed only when every member knows it, but version 1 always is.
func TestEntryVersionGate(t *testing.T) {
	for _, tc := range []struct {
		since, everybody uint32
		ok               bool
	}{{1, 1, true}, {1, 0, true}, {2, 1, false}, {2, 2, true}, {3, 2, false}, {0, 9, false}} {
		if err := checkVersion("a.kind", tc.since, tc.everybody); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrEntryVersion) {
			t.Errorf("since %d, everybody %d: %v", tc.since, tc.everybody, err)
		}
	}
}

// TestAnswerKeepsErrors: what crosses the hop is still itself for errors.Is.
func TestAnswerKeepsErrors(t *testing.T) {
	for _, err := range []error{notAppended(errNotLeading), unknownOutcome(errors.New("lost")), ErrEntryVersion, ErrQuorum, ErrUnknownMember, ErrTransfer} {
		code := "failed"
		for c, e := range codes {
			if errors.Is(err, e) {
				code = c
			}
		}
		if !errors.Is(&uncertain{codes[code], errors.New("text")}, unwrapKind(err)) {
			t.Errorf("%v became %q", err, code)
		}
	}
	b, err := json.Marshal(response{Refusal: fsm.ErrEpoch})
	if err != nil {
		t.Fatal(err)
	}
	var got response
	if err := json.Unmarshal(b, &got); err != nil || !errors.Is(got.Refusal, fsm.ErrEpoch) {
		t.Fatal(err, got)
	}
	if diff := cmp.Diff(fsm.ErrEpoch, got.Refusal); diff != "" {
		t.Fatal(diff)
	}
}

func unwrapKind(err error) error {
	var u *uncertain
	if errors.As(err, &u) {
		return u.kind
	}
	return err
}
