package baseline

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// node is nodeos as a child of this process: started again when it ends, and taken along by the kernel when this process
// dies.
type node struct {
	cfg  Config
	log  *slog.Logger
	died chan struct{} // capacity 1: it ended unasked

	mu    sync.Mutex
	end   context.CancelFunc // ends the run under way
	empty bool               // the next run begins without data
}

const stopTime = 20 * time.Second // for nodeos to end on SIGTERM

// newNode writes the node's config.ini. It starts paused.
func newNode(cfg Config, log *slog.Logger) (*node, error) {
	lines := []string{
		"http-server-address = " + cfg.NodeHTTP,
		"p2p-listen-endpoint = " + cfg.NodeP2P,
		"agent-name = " + cfg.ID,
		"producer-name = " + cfg.Producer,
		"signature-provider = " + cfg.SignatureProvider,
		"pause-on-startup = true",
	}
	for _, p := range []string{"chain", "chain_api", "producer", "producer_api", "net", "net_api"} {
		lines = append(lines, "plugin = eosio::"+p+"_plugin")
	}
	for _, p := range cfg.NodePeers {
		lines = append(lines, "p2p-peer-address = "+p)
	}
	n := &node{cfg: cfg, log: log, died: make(chan struct{}, 1)}
	if err := os.MkdirAll(n.dir("config"), 0o700); err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	if err := os.WriteFile(filepath.Join(n.dir("config"), "config.ini"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	return n, nil
}

func (n *node) dir(name string) string { return filepath.Join(n.cfg.Home, "node", name) }

// run keeps the node running until ctx ends, and returns when it has ended.
func (n *node) run(ctx context.Context) {
	// The parent-death signal speaks of the thread that forked: it has to live as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	replay := false
	for ctx.Err() == nil {
		began := time.Now()
		code := n.once(ctx, replay)
		if ctx.Err() != nil {
			return
		}
		if n.clear() {
			replay = false
			continue
		}
		// 2 is a dirty database, 254 refuses what is on disk: both are after a kill, and are cured by the block log.
		replay = code == 2 || code == 254
		select {
		case n.died <- struct{}{}:
		default:
		}
		again := 100 * time.Millisecond
		if time.Since(began) < 2*time.Second && !replay {
			again = time.Second
		}
		n.log.Warn("nodeos ended and is started again", "code", code, "replay", replay)
		wait(ctx, again)
	}
}

// startEmpty ends nodeos; it is started again without its data.
func (n *node) startEmpty() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.empty = true
	if n.end != nil {
		n.end()
	}
}

// clear removes the data if that was asked for.
func (n *node) clear() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.empty {
		return false
	}
	n.empty = false
	if err := os.RemoveAll(n.dir("data")); err != nil {
		n.log.Error("the data stays", "err", err)
	}
	return true
}

// once runs nodeos to its end and returns its exit code.
func (n *node) once(ctx context.Context, replay bool) int {
	ctx, end := context.WithCancel(ctx)
	defer end()
	n.mu.Lock()
	n.end = end
	n.mu.Unlock()
	out, err := os.OpenFile(filepath.Join(n.cfg.Home, "nodeos.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.log.Error("no log for nodeos", "err", err)
		return -1
	}
	defer out.Close()
	args := append([]string{"--config-dir", n.dir("config"), "--data-dir", n.dir("data"), "-e"}, n.cfg.Args...)
	if replay {
		args = append(args, "--replay-blockchain")
	}
	c := exec.CommandContext(ctx, n.cfg.Nodeos, args...)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopTime
	if err := c.Run(); err != nil && c.ProcessState == nil {
		n.log.Error("nodeos does not start", "err", err)
		return -1
	}
	return c.ProcessState.ExitCode()
}

// wait waits for so long, or for ctx's end.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
