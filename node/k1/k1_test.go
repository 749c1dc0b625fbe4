package k1

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The well-known development key of all recordings.
const (
	devPrivate = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"
	devPublic  = "EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"
	devModern  = "PUB_K1_6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5BoDq63"
	devModernP = "PVT_K1_2bfGi9rYsXQSXXTvJbDAPhHLQUojjaNLomdm3cEJ1XTzMqUt3V"
)

func devKey(t testing.TB) *PrivateKey {
	t.Helper()
	k, err := ParsePrivate(devPrivate)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyForms(t *testing.T) {
	k := devKey(t)
	if got := k.Public().String(); got != devPublic {
		t.Errorf("public key %s, want %s", got, devPublic)
	}
	if got := k.Public().Modern(); got != devModern {
		t.Errorf("modern public key %s, want %s", got, devModern)
	}
	if got := k.Export(); got != devPrivate {
		t.Error("export is not what was parsed")
	}
	m, err := ParsePrivate(devModernP)
	if err != nil || m.Public() != k.Public() {
		t.Errorf("the modern form is another key (%v)", err)
	}
	for _, s := range []string{devPublic, devModern} {
		if p, err := ParsePublic(s); err != nil || p != k.Public() {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestKeosdVectors compares with what a real keosd signed.
func TestKeosdVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/keosd.txt")
	if err != nil {
		t.Fatal(err)
	}
	k, n := devKey(t), 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "#" {
			continue
		}
		n++
		var digest [32]byte
		if _, err := hex.Decode(digest[:], []byte(f[0])); err != nil {
			t.Fatal(err)
		}
		sig, err := ParseSignature(f[2])
		if err != nil {
			t.Fatal(err)
		}
		if sig.String() != f[2] || !sig.Canonical() {
			t.Errorf("%s does not survive a round trip or is not canonical", f[2])
		}
		if p, err := Recover(digest, sig); err != nil || p.String() != f[1] {
			t.Errorf("%s recovers to %s, want %s (%v)", f[2], p, f[1], err)
		}
		if got := k.Sign(digest).String(); got != f[2] {
			t.Errorf("digest %s: signed %s, keosd %s", f[0], got, f[2])
		}
	}
	if n < 50 {
		t.Fatalf("only %d vectors", n)
	}
}

func TestBadText(t *testing.T) {
	flip := func(s string) string {
		return s[:len(s)-1] + map[bool]string{true: "4", false: "3"}[s[len(s)-1] == '3']
	}
	for _, s := range []string{"", "5", "EOS", "PUB_K1_", devPublic[:20], flip(devPublic), flip(devModern), devPublic + "1", "EOS" + devModern[7:], "PUB_K1_" + devPublic[3:], "EOS" + strings.Repeat("1", 40), "EOS0OIl", strings.Repeat("z", 5000), devPrivate} {
		if _, err := ParsePublic(s); err == nil {
			t.Errorf("ParsePublic(%q) should fail", s)
		}
	}
	for _, s := range []string{"", flip(devPrivate), flip(devModernP), devPublic, "PVT_K1_" + devPrivate, "PVT_K1_" + strings.Repeat("1", 36), devPrivate + " "} {
		_, err := ParsePrivate(s)
		if err == nil {
			t.Errorf("ParsePrivate(%q) should fail", s)
		} else if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
	for _, s := range []string{"", "SIG_K1_", "SIG_R1_" + devPublic, "SIG_K1_" + devPublic[3:]} {
		if _, err := ParseSignature(s); err == nil {
			t.Errorf("ParseSignature(%q) should fail", s)
		}
	}
	if _, err := Recover([32]byte{}, Signature{}); err == nil {
		t.Error("the zero signature recovers to a key")
	}
}

func TestPrivateKeyIsNeverPrinted(t *testing.T) {
	k := devKey(t)
	raw := hex.EncodeToString(k.key.Serialize())
	var out bytes.Buffer
	type holder struct {
		Key    *PrivateKey
		Value  PrivateKey
		hidden *PrivateKey
		value  PrivateKey
	}
	h := holder{k, *k, k, *k}
	for _, v := range []any{k, *k, h, &h, []*PrivateKey{k}, []any{*k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%X", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	text := strings.ToLower(out.String())
	for _, secret := range []string{devPrivate, devModernP[7:], raw, string(k.key.Serialize())} {
		if strings.Contains(text, strings.ToLower(secret)) {
			t.Fatalf("a private key was printed:\n%s", out.String())
		}
	}
}

func TestSignRecover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 256, 256).Draw(t, "seed")
		seed[31] |= 1
		k, err := Generate(bytes.NewReader(seed))
		if err != nil {
			t.Skip("no key in this seed")
		}
		digest := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
		sig := k.Sign(digest)
		if !sig.Canonical() || sig != k.Sign(digest) {
			t.Fatal("not canonical or not deterministic")
		}
		if p, err := Recover(digest, sig); err != nil || p != k.Public() {
			t.Fatalf("recovered %s, want %s (%v)", p, k.Public(), err)
		}
		if back, err := ParseSignature(sig.String()); err != nil || back != sig {
			t.Fatalf("signature text: %v", err)
		}
		if back, err := ParsePrivate(k.Export()); err != nil || back.Public() != k.Public() {
			t.Fatalf("key text: %v", err)
		}
	})
	if _, err := Generate(bytes.NewReader(nil)); err == nil {
		t.Error("a key out of nothing")
	}
	if _, err := Generate(rand.Reader); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{devPrivate, devModernP, devPublic, devModern, "SIG_K1_K6UCKs9k8a47vn4djWegWFUky8eb8efJ8yAFeGDQg8Abjgh6B4jazCoyreJXNK7Tyg1qQGXiqt2Y1tVGWb4GqBCjLKtSRS", "", "EOS1", "PUB_K1_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePublic(s); err == nil && p.String() != s && p.Modern() != s {
			t.Fatalf("%q is read as %s", s, p)
		}
		if k, err := ParsePrivate(s); err == nil {
			if back, err := ParsePrivate(k.Export()); err != nil || back.Public() != k.Public() {
				t.Fatal("a private key does not survive a round trip")
			}
		}
		if sig, err := ParseSignature(s); err == nil {
			if sig.String() != s {
				t.Fatalf("%q is read as %s", s, sig)
			}
			_, _ = Recover([32]byte{1}, sig)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	k := devKey(b)
	var d [32]byte
	for i := range b.N {
		d[0], d[1], d[2] = byte(i), byte(i>>8), byte(i>>16)
		k.Sign(d)
	}
}

func BenchmarkRecover(b *testing.B) {
	k := devKey(b)
	s := k.Sign([32]byte{1})
	for range b.N {
		if _, err := Recover([32]byte{1}, s); err != nil {
			b.Fatal(err)
		}
	}
}
