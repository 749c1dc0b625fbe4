package baseline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// system is one of the usual ways: it decides who leads.
type system interface {
	// run watches until ctx ends. died tells of a node that ended unasked.
	run(ctx context.Context, died <-chan struct{})
	// produces is the hand on the node.
	produces() *hand
	// leader is whom this member takes for the leader; "" for nobody.
	leader() string
	// handoff gives production to a peer; called on the member that leads.
	handoff(ctx context.Context, to Peer) error
	// takeover takes production because the one who led says so.
	takeover() error
	// leave gives production up for good, in order. Called after run has ended.
	leave(ctx context.Context) error
}

// manager is one member's process.
type manager struct {
	kind   string
	cfg    Config
	log    *slog.Logger
	node   *nodeos
	child  *node
	system system
}

// leaveTime is how long giving up production may take at the end.
const leaveTime = 5 * time.Second

// Run runs a member of a kind with its node until ctx ends: then it pauses, hands production over, and stops the node.
func Run(ctx context.Context, kind string, cfg Config, logTo io.Writer) error {
	log := slog.New(slog.NewTextHandler(logTo, nil)).With("id", cfg.ID)
	if err := os.MkdirAll(cfg.Home, 0o700); err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	m := &manager{kind: kind, cfg: cfg, log: log, node: newNodeos(cfg.NodeHTTP)}
	if err := m.node.pause(ctx); err == nil {
		log.Warn("a node was running already; it is paused")
	}
	var err error
	if m.child, err = newNode(cfg, log); err != nil {
		return err
	}
	api, err := net.Listen("tcp", cfg.API) //nolint:noctx // closed with the server
	if err != nil {
		return fmt.Errorf("baseline: api: %w", err)
	}
	switch kind {
	case Leader:
		m.system, err = newLeader(cfg, m.node, log, logTo)
	case Keepalived:
		m.system, err = newKeepalived(cfg, m.node, log)
	default:
		err = fmt.Errorf("baseline: no kind %q", kind)
	}
	if err != nil {
		return errors.Join(err, api.Close())
	}
	var all sync.WaitGroup
	server := &http.Server{Handler: m.handler(), ReadHeaderTimeout: 5 * time.Second}
	all.Go(func() { _ = server.Serve(api) }) // ends with the server
	nodeLife, stopNode := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNode()
	all.Go(func() { m.child.run(nodeLife) })
	handLife, dropHand := context.WithCancel(context.WithoutCancel(ctx))
	defer dropHand()
	all.Go(func() { m.system.produces().run(handLife) })

	all.Go(func() { m.resync(ctx) })
	m.system.run(ctx, m.child.died)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	err = m.system.leave(last)
	dropHand()
	stopNode()
	err = errors.Join(err, server.Close())
	all.Wait()
	return err
}
