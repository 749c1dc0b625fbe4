package security

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWhenToRenew(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	c := &x509.Certificate{NotBefore: start, NotAfter: start.Add(90 * day)}
	for jitter, want := range map[float64]time.Duration{0: 60 * day, 1: 57 * day, 0.5: 58*day + 12*time.Hour} {
		if got := renewAt(c, jitter).Sub(start); got != want {
			t.Errorf("jitter %v: after %v, not %v", jitter, got, want)
		}
	}
	for _, tc := range []struct {
		failures int
		at, want time.Duration
	}{
		{1, 60 * day, time.Minute}, {2, 60 * day, 2 * time.Minute}, {5, 60 * day, 16 * time.Minute}, {9, 60 * day, 256 * time.Minute},
		{30, 60 * day, 6 * time.Hour}, {100, 60 * day, 6 * time.Hour}, // no overflow
		{30, 89 * day, 24 * time.Hour / 10}, // the end is near
		{30, 91 * day, time.Minute},         // and past it
		{30, 90*day - time.Millisecond, 100 * time.Millisecond},
	} {
		if got := retryAfter(tc.failures, c, start.Add(tc.at), 0); got != tc.want {
			t.Errorf("%d failures, after %v: %v, not %v", tc.failures, tc.at, got, tc.want)
		}
		if got := retryAfter(tc.failures, c, start.Add(tc.at), 1); got < tc.want || got > tc.want*6/5 {
			t.Errorf("%d failures, after %v, with jitter: %v", tc.failures, tc.at, got)
		}
	}
}

// founder writes the files of a member with the CA's key.
func founder(t testing.TB, ca *CA, member string, life time.Duration) Files {
	t.Helper()
	f := InHome(t.TempDir())
	issue(t, f, ca, member, life)
	write(t, f.CAKey, must(ca.Key())(t))
	return f
}

// TestRenewsItself where the CA's key is, through somebody else where it is not, and again after that one failed.
func TestRenewsItself(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	life := time.Minute // and 5 in the past: its last third has begun
	k1 := keep(t, Config{Files: founder(t, ca, "m1", life), Member: "m1", Renew: true, Hosts: []string{"bp1.example"}})
	eventually(t, "a certificate of our own", func() bool { return k1.Status().NotAfter.After(time.Now().Add(MemberLife / 2)) })
	if !slices.Contains(k1.Status().Hosts, "bp1.example") {
		t.Errorf("hosts %q", k1.Status().Hosts)
	}

	f2 := InHome(t.TempDir())
	issue(t, f2, ca, "m2", time.Second) // 300 s of life, so it tries again within a tenth of a second
	var asked atomic.Int32
	ask := func(_ context.Context, request []byte) (Issued, error) {
		if asked.Add(1) < 3 {
			return Issued{}, errors.New("nobody is there")
		}
		return k1.Sign(request, "m2")
	}
	k2 := must(Open(Config{Files: f2, Member: "m2", Renew: true, Ask: ask}))(t)
	run(t, k2)
	eventually(t, "a certificate from m1", func() bool {
		s := k2.Status()
		return s.NotAfter.After(time.Now().Add(MemberLife/2)) && s.Problem == ""
	})
	if s := k2.Status(); asked.Load() != 3 || s.Renewed != 1 {
		t.Errorf("asked %d times, %+v", asked.Load(), s)
	}
	if again := must(Open(Config{Files: f2, Member: "m2"}))(t); again.Status().Serial != k2.Status().Serial {
		t.Error("it is not in the files")
	}
}

// TestAnotherHostIsAsked for at the start, when a member moved, and when its configuration changed.
func TestAnotherHostIsAsked(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	f := founder(t, ca, "m1", MemberLife)
	k := keep(t, Config{Files: f, Member: "m1", Renew: true, Hosts: []string{"10.9.8.7", "lb.example"}})
	eventually(t, "the hosts", func() bool { return !lacks(k.loaded.Load().leaf(), []string{"10.9.8.7", "lb.example"}) })
	before := k.Status().Serial
	k.SetHosts([]string{"lb.example"}) // it has it: nothing to do
	k.SetHosts([]string{"lb.example", "bp.example"})
	eventually(t, "the further host", func() bool { return !lacks(k.loaded.Load().leaf(), []string{"lb.example", "bp.example"}) })
	eventually(t, "the count of both", func() bool { return k.Status().Renewed >= 2 }) // it is counted when all is done
	if s := k.Status(); s.Serial == before || s.Renewed != 2 {
		t.Errorf("%+v", s)
	}
}

func TestRenewalIsOff(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	k := keep(t, Config{Files: founder(t, ca, "m1", time.Minute), Member: "m1"})
	before := k.Status().Serial
	eventually(t, "a word about it", func() bool { return strings.Contains(k.Status().Problem, "tls.renew is off") })
	if k.Status().Serial != before {
		t.Error("it renewed all the same")
	}
}

// TestWhatIsIssuedIsChecked before it replaces anything.
func TestWhatIsIssuedIsChecked(t *testing.T) {
	ca, foreign := must(NewCA("t", time.Now()))(t), must(NewCA("t", time.Now()))(t)
	f := InHome(t.TempDir())
	issue(t, f, ca, "m2", MemberLife)
	var answer func(request []byte) Issued
	k := must(Open(Config{Files: f, Member: "m2", Ask: func(_ context.Context, r []byte) (Issued, error) { return answer(r), nil }}))(t)
	before := k.Status().Serial
	sign := func(ca *CA, member string, life time.Duration) func([]byte) Issued {
		return func(r []byte) Issued {
			return Issued{Cert: must(ca.Sign(r, member, life, time.Now()))(t), CA: ca.Cert()}
		}
	}
	_, other, err := NewRequest("m2", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]func([]byte) Issued{
		"another member's": sign(ca, "m3", MemberLife),
		"of another CA":    sign(foreign, "m2", MemberLife),
		"expired":          sign(ca, "m2", -time.Second),
		"for another key":  func([]byte) Issued { return sign(ca, "m2", MemberLife)(other) },
		"nothing":          func([]byte) Issued { return Issued{} },
		"rubbish for CAs":  func(r []byte) Issued { i := sign(ca, "m2", MemberLife)(r); i.CA = []byte("x"); return i },
	} {
		answer = a
		if err := k.Renew(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := must(Open(Config{Files: f, Member: "m2"}))(t).Status(); got.Serial != before || len(got.CAs) != 1 {
			t.Fatalf("%s is in the files", name)
		}
	}
	answer = sign(ca, "m2", MemberLife)
	if err := k.Renew(t.Context()); err != nil || k.Status().Serial == before {
		t.Errorf("the good one: %v", err)
	}
}

// TestNewCA: a cluster changes its CA while every two members can always talk.
func TestNewCA(t *testing.T) {
	old := must(NewCA("t", time.Now()))(t)
	f1 := founder(t, old, "m1", MemberLife)
	f2 := InHome(t.TempDir())
	issue(t, f2, old, "m2", MemberLife)
	k1 := must(Open(Config{Files: f1, Member: "m1"}))(t)
	k2 := must(Open(Config{Files: f2, Member: "m2", Ask: func(_ context.Context, r []byte) (Issued, error) { return k1.Sign(r, "m2") }}))(t)
	a1, a2 := echo(t, k1.Server()), echo(t, k2.Server())
	talk := func(when string) {
		t.Helper()
		_, err1 := dial(t, a1, k2.Client("m1"))
		_, err2 := dial(t, a2, k1.Client("m2"))
		if err := errors.Join(err1, err2); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	renew := func(k *Keeper) {
		t.Helper()
		if err := errors.Join(k.Reload(), k.Renew(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	talk("before")
	for range 2 { // m1 believes both and signs with the old one
		if err := errors.Join(f1.NewCA("t", time.Now()), k1.Reload()); err != nil {
			t.Fatal(err)
		}
	}
	if got := k1.CAs(); len(got) != 2 {
		t.Fatalf("m1 believes %v", got)
	}
	if _, err := f1.ForgetCAs(); err != nil { // it is not used yet: to forget it would be no harm, but for the key that waits
		t.Fatal(err)
	}
	if err := errors.Join(f1.NewCA("t", time.Now()), k1.Reload()); err != nil { // and it comes back
		t.Fatal(err)
	}
	young := k1.CAs()[1]
	renew(k2) // and m2 learns of the new one
	if got := k2.CAs(); len(got) != 2 {
		t.Fatalf("m2 believes %v", got)
	}
	talk("both are believed")
	if err := errors.Join(f1.UseCA(), k1.Reload()); err != nil {
		t.Fatal(err)
	}
	if _, err := f1.ForgetCAs(); err == nil {
		t.Error("the CA that signs is forgotten")
	}
	if err := f1.UseCA(); err == nil {
		t.Error("there is no further CA")
	}
	renew(k1)
	if k1.Status().Issuer != young {
		t.Error("m1 has no certificate of the new CA")
	}
	talk("one has the new CA's certificate")
	renew(k2)
	for _, f := range []Files{f1, f2} {
		if gone, err := f.ForgetCAs(); err != nil || !slices.Equal(gone, []string{Fingerprint(old.cert)}) {
			t.Errorf("gone: %v, %v", gone, err)
		}
	}
	if err := errors.Join(k1.Reload(), k2.Reload()); err != nil {
		t.Fatal(err)
	}
	talk("the old one is gone")
	if got := append(k1.CAs(), k2.CAs()...); !slices.Equal(got, []string{young, young}) {
		t.Errorf("believed: %v", got)
	}
}

func TestOneRenewsAtATime(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	f := founder(t, ca, "m1", MemberLife)
	k := must(Open(Config{Files: f, Member: "m1"}))(t)
	unlock := must(f.lock())(t)
	if err := k.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("two at once: %v", err)
	}
	unlock()
	if err := k.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(f.CAKey); err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(t.Context()); !errors.Is(err, ErrNoCA) {
		t.Errorf("without the CA: %v", err)
	}
}
