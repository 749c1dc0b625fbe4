package baseline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// keepalived elects a master by VRRP adverts; notify_master resumes the node, notify_backup and notify_fault pause it.
type keepalived struct {
	cfg   Config
	log   *slog.Logger
	node  *nodeos
	conn  net.PacketConn
	peers []net.Addr
	hand  *hand

	mu sync.Mutex
	v  *vrrp
}

// checkEvery is the interval of the health check, as in most people's vrrp_script.
const checkEvery = time.Second

func newKeepalived(cfg Config, n *nodeos, log *slog.Logger) (*keepalived, error) {
	k := &keepalived{cfg: cfg, log: log, node: n, v: newVRRP(cfg.ID, cfg.Priority, ms(cfg.AdvertMs), time.Now())}
	for _, p := range cfg.Peers {
		a, err := net.ResolveUDPAddr("udp", p.Address)
		if err != nil {
			return nil, fmt.Errorf("baseline: peer %s: %w", p.ID, err)
		}
		k.peers = append(k.peers, a)
	}
	conn, err := net.ListenPacket("udp", cfg.Bind) //nolint:noctx // closed by leave
	if err != nil {
		return nil, fmt.Errorf("baseline: adverts: %w", err)
	}
	k.conn = conn
	k.hand = newHand(n, func() bool { return k.role() == master }, ms(cfg.PollMs), log)
	return k, nil
}

func (k *keepalived) role() role {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.v.role
}

// step lets the state machine do something, sends what it wants sent, and tells the hand of a change.
func (k *keepalived) step(f func(v *vrrp, now time.Time) (send bool)) {
	k.mu.Lock()
	before := k.v.role
	send := f(k.v, time.Now())
	after, priority := k.v.role, k.v.priority
	k.mu.Unlock()
	if send {
		if after != master {
			priority = 0
		}
		k.send(advert{k.cfg.ID, priority})
	}
	if after != before {
		k.log.Info("role", "role", string(after), "was", string(before))
		k.hand.poke()
	}
}

func (k *keepalived) send(a advert) {
	text, err := json.Marshal(a)
	if err != nil {
		panic(err) // a string and a number
	}
	for _, p := range k.peers {
		if _, err := k.conn.WriteTo(text, p); err != nil {
			k.log.Debug("advert not sent", "to", p.String(), "err", err)
		}
	}
}

func (k *keepalived) run(ctx context.Context, _ <-chan struct{}) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { k.listen(ctx) })
	all.Go(func() { k.watch(ctx) })
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = k.conn.SetReadDeadline(time.Now()) // ends listen; adverts can still be sent
			return
		case <-tick.C:
			k.step(func(v *vrrp, now time.Time) bool { return v.tick(now) })
		}
	}
}

func (k *keepalived) listen(ctx context.Context) {
	buf := make([]byte, 1500)
	for ctx.Err() == nil {
		n, _, err := k.conn.ReadFrom(buf)
		if err != nil {
			continue // the deadline at the end, or a peer's port that is closed
		}
		var a advert
		if err := json.Unmarshal(buf[:n], &a); err != nil {
			k.log.Warn("strange packet", "err", err)
			continue
		}
		k.step(func(v *vrrp, now time.Time) bool { return v.receive(a, now) })
	}
}

// watch is the health check: get_info answers, and where this member is the master its head advances.
func (k *keepalived) watch(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	verdict := check{well: true}
	var last head
	var led bool // at the last check
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		leads := k.role() == master
		h, _, err := k.node.info(ctx)
		good := err == nil && (!leads || !led || h.num > last.num)
		last, led = h, leads
		if verdict.add(good) {
			k.log.Warn("health", "well", verdict.well, "err", err)
			k.step(func(v *vrrp, now time.Time) bool { return v.health(verdict.well, now) })
		}
	}
}

func (k *keepalived) produces() *hand { return k.hand }

func (k *keepalived) leader() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.v.master
}

// handoff is the operator's runbook: pause here, see that it is paused, wait a moment, start the other one.
func (k *keepalived) handoff(ctx context.Context, to Peer) error {
	if err := k.hand.release(ctx); err != nil {
		return err
	}
	defer k.hand.keep()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.API+"/takeover", nil)
	if err != nil {
		return fmt.Errorf("baseline: handoff: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("baseline: handoff: %w", err)
	}
	if err := answer(resp, nil); err != nil {
		return err
	}
	k.step(func(v *vrrp, now time.Time) bool { v.resign(now); return false })
	return nil
}

// takeover makes this member the master by its operator's word.
func (k *keepalived) takeover() error {
	if k.role() == fault {
		return errors.New("baseline: the health check fails here")
	}
	k.step(func(v *vrrp, now time.Time) bool { v.become(now); return true })
	return nil
}

// leave says goodbye where this member is the master.
func (k *keepalived) leave(ctx context.Context) error {
	if k.role() == master {
		if err := k.hand.release(ctx); err != nil {
			k.log.Warn("the node was not paused", "err", err)
		}
		k.step(func(v *vrrp, now time.Time) bool { return v.health(false, now) })
	}
	return k.conn.Close()
}
