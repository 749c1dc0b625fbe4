package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/security"
)

// killCosts is what a kill of the holder may cost, in slots.
const killCosts = 7

// TestUnderTLS: with TLS, tokens and encrypted gossip a handoff costs nothing, and a kill no more than without.
func TestUnderTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	b := start(t, drill.Options{Secure: true})
	holder := b.overview().Holder()
	to := b.other(holder)
	if err := b.Handoff(t.Context(), b.other(holder, to.ID), to.ID); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if r := b.check(); r.Missed.Total != 0 {
		t.Errorf("the handoff missed %d of %d slots", r.Missed.Total, r.SlotsDue)
	}
	if err := b.KillMember(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "another holder", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if h := o.Holder(); err == nil && (h == "" || h == to.ID) {
			err = fmt.Errorf("%q holds", h)
		}
		return err
	})
	if err := b.StartMember(to); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if r := b.check(); r.Missed.Total > killCosts {
		t.Errorf("the kill missed %d of %d slots", r.Missed.Total, r.SlotsDue)
	}
}

// command runs the program as an operator does; its output is returned.
func (b *box) command(args ...string) (string, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(built, "roundtable"), args...)
	cmd.Env = append(os.Environ(), "ROUNDTABLE_SERVER=", "ROUNDTABLE_TOKEN=", "XDG_CONFIG_HOME="+b.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("roundtable %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// keeper has a member's certificate as its files hold it.
func keeper(t *testing.T, m *drill.Member) *security.Keeper {
	t.Helper()
	k, err := security.Open(security.Config{Files: m.Files(), Member: m.ID})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// raftAddress is where a member's raft is reached.
func (b *box) raftAddress(m *drill.Member) string {
	b.t.Helper()
	var v api.Member
	if err := get(b.t.Context(), m, "/cluster/members/"+m.ID, &v); err != nil {
		b.t.Fatal(err)
	}
	return v.Raft
}

// handshake dials with a configuration, and waits a moment for a refusal: a TLS 1.3 client is done before the server has
// looked at its certificate.
func handshake(ctx context.Context, address string, conf *tls.Config) (serial string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		err = nil // it waits for us to speak
	}
	return fmt.Sprintf("%x", c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber), err
}

// TestCertificatesAreReplaced under a live lease: every member's, one by one, then the cluster's CA. No manager restarts, the
// lease stays where it is, no slot is missed, and in the end all that is new works: new streams, a handoff.
func TestCertificatesAreReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	b := start(t, drill.Options{Secure: true})
	before := b.overview()
	founder := b.Members[0]
	pids := b.pids()
	renew := func(m *drill.Member) string {
		t.Helper()
		args := []string{"certificate", "renew", "--home", m.Home}
		if m != founder {
			args = append(args, "--server", founder.API)
		}
		if _, err := b.command(args...); err != nil {
			t.Fatal(err)
		}
		return keeper(t, m).Status().Serial
	}
	// shows waits until a member's API and raft have the certificate in new handshakes.
	shows := func(m *drill.Member, serial string) {
		t.Helper()
		by := keeper(t, b.other(m.ID))
		for _, address := range []string{strings.TrimPrefix(m.API, "https://"), b.raftAddress(m)} {
			eventually(t, 5*time.Second, "the new certificate of "+m.ID, func(ctx context.Context) error {
				got, err := handshake(ctx, address, by.Client(m.ID))
				if err == nil && got != serial {
					err = fmt.Errorf("%s shows %s, not %s", address, got, serial)
				}
				return err
			})
		}
	}
	for _, m := range b.Members {
		old := keeper(t, m).Status().Serial
		serial := renew(m)
		if serial == old {
			t.Fatalf("the certificate of %s is the old one", m.ID)
		}
		shows(m, serial)
	}

	// A new CA: first everybody believes both, then it signs, then the old one goes.
	ca := func(step string, m *drill.Member) {
		t.Helper()
		if _, err := b.command("certificate", "ca", step, "--home", m.Home); err != nil {
			t.Fatal(err)
		}
	}
	ca("new", founder)
	for _, m := range b.others(founder.ID) { // who renews learns of both
		shows(m, renew(m))
	}
	ca("use", founder)
	for _, m := range b.Members {
		shows(m, renew(m))
	}
	for _, m := range b.Members {
		ca("forget", m)
	}
	old := b.foreign(b.CA(), "m2", time.Hour)
	for _, m := range b.Members {
		eventually(t, 5*time.Second, "the old CA's certificates refused by "+m.ID, func(ctx context.Context) error {
			if _, err := handshake(ctx, b.raftAddress(m), trusting(keeper(t, m), old)); err == nil {
				return errors.New("it is let in")
			}
			return nil
		})
	}

	after := b.overview()
	if after.Lease.Epoch != before.Lease.Epoch || after.Holder() != before.Holder() || after.Term != before.Term {
		t.Errorf("the lease or the leadership moved: epoch %d, %s, term %d; before %d, %s, %d",
			after.Lease.Epoch, after.Holder(), after.Term, before.Lease.Epoch, before.Holder(), before.Term)
	}
	to := b.other(before.Holder())
	if err := b.Handoff(t.Context(), b.other(before.Holder(), to.ID), to.ID); err != nil {
		t.Error(err)
	}
	b.settle()
	if got := b.pids(); got != pids {
		t.Errorf("a manager was started again: %s, before %s", got, pids)
	}
	r := b.check()
	t.Logf("%d slots due, %d missed", r.SlotsDue, r.Missed.Total)
	if r.Missed.Total != 0 {
		t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
}

// pids are the managers' processes.
func (b *box) pids() string {
	var list []string
	for _, m := range b.Members {
		list = append(list, fmt.Sprint(m.PID()))
	}
	return strings.Join(list, " ")
}
