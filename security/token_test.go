package security

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTokens(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		text, id, hash := NewToken()
		sum := sha256.Sum256([]byte(text))
		if got, err := ParseToken(text); err != nil || got != id || hash != hex.EncodeToString(sum[:]) || hash != HashToken(text) {
			t.Fatalf("%s: %s %v", text, got, err)
		}
		if !strings.HasPrefix(text, "rt1_"+id+"_") || len(text) != len("rt1_")+8+1+32 || seen[id] || seen[text] {
			t.Fatalf("%s (%s)", text, id)
		}
		seen[id], seen[text] = true, true
	}
}

func TestNoToken(t *testing.T) {
	good, _, _ := NewToken()
	invite, _, _ := NewInvite()
	for _, bad := range []string{"", "rt1_", "rt1_a_b", invite, good + "a", good[:len(good)-1], strings.ToUpper(good), " " + good, strings.Replace(good, "_", "-", 2), good[:len(good)-1] + "1", "rt2" + good[3:]} {
		if id, err := ParseToken(bad); !errors.Is(err, ErrToken) || id != "" {
			t.Errorf("%q: %q %v", bad, id, err)
		}
	}
	if _, err := ParseInvite(good); !errors.Is(err, ErrToken) {
		t.Errorf("a token is taken for an invite: %v", err)
	}
}

// join is a good one.
func join() Join {
	invite, _, _ := NewInvite()
	return Join{Member: "m4", APIs: []string{"https://h1:9080", "https://[::1]:9080"}, CAs: []string{strings.Repeat("ab", 32)}, Invite: invite}
}

func TestJoinString(t *testing.T) {
	want := join()
	got, err := ParseJoin(" " + want.Text() + "\n")
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %v", cmp.Diff(want, got), err)
	}
	if s := fmt.Sprint(want); strings.Contains(s, want.Invite) {
		t.Errorf("printing it shows the invite: %s", s)
	}
}

func TestNoJoinString(t *testing.T) {
	good := join().Text()
	for i := range len(good) - 1 { // whatever is missing at the end is noticed
		if _, err := ParseJoin(good[:i]); !errors.Is(err, ErrJoin) {
			t.Fatalf("%d characters of it: %v", i, err)
		}
	}
	for name, change := range map[string]func(*Join){
		"plain":          func(j *Join) { j.APIs[1] = "http://h1:9080" },
		"no host":        func(j *Join) { j.APIs[0] = "https://" },
		"no address":     func(j *Join) { j.APIs = nil },
		"no CA":          func(j *Join) { j.CAs = nil },
		"no fingerprint": func(j *Join) { j.CAs[0] = "abc" },
		"no invite":      func(j *Join) { j.Invite = "" },
		"no member":      func(j *Join) { j.Member = "" },
	} {
		j := join()
		change(&j)
		if _, err := ParseJoin(j.Text()); !errors.Is(err, ErrJoin) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseJoin(f *testing.F) {
	f.Add(join().Text())
	f.Add("rtj1_")
	f.Fuzz(func(t *testing.T, text string) {
		j, err := ParseJoin(text)
		if err != nil {
			return
		}
		if again, err := ParseJoin(j.Text()); err != nil || !cmp.Equal(j, again) {
			t.Errorf("%q: %v %v", text, again, err)
		}
	})
}
