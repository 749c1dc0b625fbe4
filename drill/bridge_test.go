package drill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestRules(t *testing.T) {
	a, b := &Member{host: "127.77.0.10", p2p: 1001}, &Member{host: "127.77.0.11", p2p: 1002}
	golden(t, "rules.nft", rules(map[link]bool{{a, b, false}: true, {b, a, true}: true, {a, b, true}: false}, 0.25))
}

// needBridge skips a test where no bridge can be.
func needBridge(t *testing.T) {
	t.Helper()
	if err := checkBridge(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after everything else
}

// bridged are members without processes.
func bridged(t *testing.T) (*bridge, []*Member) {
	t.Helper()
	list := []*Member{{ID: "a", host: bridgeHost + "10", p2p: 1010}, {ID: "b", host: bridgeHost + "11", p2p: 1011}}
	b, err := openBridge(list, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b, list
}

func (b *bridge) cut(t *testing.T, links ...link) {
	t.Helper()
	if err := b.change(func(cuts map[link]bool) {
		clear(cuts)
		for _, l := range links {
			cuts[l] = true
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// through connects two members, to this port of the second one; nil if nothing came of it within a moment.
func through(t *testing.T, from, to *Member, port int) (client, server net.Conn) {
	t.Helper()
	l, err := to.namespace.Load().listen(join(to.host, port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	client, err = from.namespace.Load().dial(ctx, l.Addr().String())
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		t.Fatalf("a dial was not left to hang: %v", err)
	}
	t.Cleanup(func() { hangUp(client) })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(server) })
	return client, server
}

func TestBridgeCuts(t *testing.T) {
	needBridge(t)
	x, list := bridged(t)
	t.Cleanup(x.close)
	a, b := list[0], list[1]
	const other = 2000 // a port that is not the nodes'
	c, s := through(t, a, b, other)
	if c == nil {
		t.Fatal("nothing goes through a whole bridge")
	}
	send(t, c, "one")
	expect(t, s, "one")
	x.cut(t, link{a, b, false})
	send(t, c, "two") // no error for the sender
	silent(t, s)
	if c, _ := through(t, a, b, other); c != nil {
		t.Error("a connection came through a cut link")
	}
	if c, _ := through(t, b, a, other); c != nil {
		t.Error("a connection was answered over a cut link")
	}
	x.cut(t)
	expect(t, s, "two")

	x.cut(t, link{b, a, false}) // the other way
	send(t, c, "three")
	expect(t, s, "three")
	send(t, s, "back")
	silent(t, c)
	x.cut(t)
	expect(t, c, "back")

	p, q := through(t, a, b, b.p2p)
	if p == nil {
		t.Fatal("no p2p")
	}
	x.cut(t, link{a, b, true})
	send(t, p, "held")
	silent(t, q)
	if c, _ := through(t, b, a, a.p2p); c != nil {
		t.Error("a node was answered over a cut link")
	}
	send(t, c, "four") // the managers' is whole
	expect(t, s, "four")
	x.cut(t)
	expect(t, q, "held")
}

func TestBridgeLosesAndDelays(t *testing.T) {
	needBridge(t)
	x, list := bridged(t)
	t.Cleanup(x.close)
	c, s := through(t, list[0], list[1], 2000)
	if c == nil {
		t.Fatal("nothing goes through a whole bridge")
	}
	if err := x.setLoss(1); err != nil {
		t.Fatal(err)
	}
	send(t, c, "lost")
	silent(t, s)
	if err := x.setLoss(0); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "lost") // TCP sends it again
	const oneWay = 80 * time.Millisecond
	if err := x.setLatency(oneWay); err != nil {
		if !errors.Is(err, errNoDelay) {
			t.Fatal(err)
		}
		if checkDelay() == nil {
			t.Fatalf("the kernel can delay, and yet: %v", err)
		}
		t.Skip(err)
	}
	send(t, c, "late")
	if took := expect(t, s, "late"); took < oneWay*3/4 {
		t.Errorf("one way took %v", took)
	}
	if err := x.setLatency(0); err != nil {
		t.Fatal(err)
	}
}

// witness is a member's namespace that is kept from outside of its bridge. Its link goes when the kernel has removed the
// bridge at the other end of it.
func witness(t *testing.T, path string) *namespace {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &namespace{file: f}
}

// gone waits until the kernel has removed what is at the other end of the witness's link, and looks for other traces of
// the namespaces of these names.
func (n *namespace) gone(t *testing.T, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Poll(ctx, 10*time.Millisecond, func(context.Context) error {
		if _, err := n.link(); err == nil {
			return errors.New("the bridge is still there")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	own := filepath.Base(n.path())
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/self/task/*/ns/net", "/proc/self/fd/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if target, err := os.Readlink(file); err == nil && slices.Contains(names, target) && filepath.Base(file) != own {
				t.Errorf("%s is still %s", file, target)
			}
		}
	}
}

// link finds the member's link in its namespace.
func (n *namespace) link() (i *net.Interface, err error) {
	err = n.run(func() error {
		i, err = net.InterfaceByName("eth0")
		return err
	})
	return i, err
}

// names are those of a bridge's namespaces, for gone.
func (b *bridge) names() []string {
	names := []string{b.own.name}
	for _, m := range b.ends {
		names = append(names, m.namespace.Load().name)
	}
	return names
}

// outside lists what a drill could leave in the network of the machine.
func outside(t *testing.T) []string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		if !strings.HasPrefix(l.Name, "br-") && !strings.HasPrefix(l.Name, "veth") { // Docker's, which may come and go meanwhile
			names = append(names, l.Name)
		}
	}
	named, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	return append(names, named...)
}

func TestBridgeLeavesNothing(t *testing.T) {
	needBridge(t)
	x, list := bridged(t)
	w, names := witness(t, list[0].namespace.Load().path()), x.names()
	if _, err := w.link(); err != nil {
		t.Fatalf("there was nothing to remove: %v", err)
	}
	x.close()
	w.gone(t, names...)
	runtime.KeepAlive(x) // the collector would close for it
}

func TestBridgeThatCannotOpen(t *testing.T) {
	needBridge(t)
	list := []*Member{{host: bridgeHost + "10"}, {host: "nowhere"}}
	before := descriptors(t)
	if _, err := openBridge(list, 0, 0); err == nil {
		t.Fatal("a member is at no address, and nobody minded")
	}
	if got := descriptors(t); got != before {
		t.Errorf("%d namespaces are held open, there were %d", got, before)
	}
	if list[0].namespace.Load() != nil {
		t.Error("a member has a namespace of a bridge that never was")
	}
}

// descriptors counts the namespaces that this process holds.
func descriptors(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, "net:") {
			n++
		}
	}
	return n
}

// asHelper tells the test program that it is to hold a bridge until it is killed.
const asHelper = "DRILL_BRIDGE_HELPER"

func TestBridgeHelper(t *testing.T) {
	if os.Getenv(asHelper) == "" {
		t.Skip("only for TestKilledDrillLeavesNothing")
	}
	_, list := bridged(t)
	n := list[0].namespace.Load()
	p, err := startProcess(list[1].namespace.Load(), "cat", []string{"/dev/zero"}, t.TempDir(), os.DevNull, nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "\n%s %s %s\n", asHelper, n.path(), list[1].namespace.Load().name)
	<-p.done
}

func TestKilledDrillLeavesNothing(t *testing.T) {
	needBridge(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBridgeHelper$")
	cmd.Env = append(os.Environ(), asHelper+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var w *namespace
	var name string
	for lines := bufio.NewScanner(out); w == nil && lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == asHelper {
			w, name = witness(t, fields[1]), fields[2]
		}
	}
	if w != nil {
		if _, err := w.link(); err != nil {
			t.Errorf("there was nothing to remove: %v", err)
		}
	}
	err = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed
	if err != nil || w == nil {
		t.Fatalf("the helper held no bridge (%v)", err)
	}
	w.gone(t, name)
}
