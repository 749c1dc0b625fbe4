package sim

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Node is one running double. Its main loop is one goroutine, which stands for nodeos' main thread: production, applying
// blocks, signing, and all HTTP calls but get_info and net run there, one at a time, and whatever blocks it (a slow
// signer, a log that nobody reads) stops all of them.
type Node struct {
	opts      *options
	clock     clock
	log       *logger
	dirs      folders
	producers []string
	chain     *controller
	prod      *producer
	net       *network
	http      *httpServer
	snaps     *snapshots
	state     *stateFile

	freshState bool
	snapshot   *snapshotFile

	term     chan struct{} // closed at the first SIGTERM or SIGINT
	tasks    chan func()
	quitted  bool
	quits    int // "appbase quit called" lines written
	info     atomic.Pointer[chainInfo]
	produced atomic.Int64  // blocks
	ending   chan struct{} // closed when the main loop has ended
	failure  error         // what ended the main loop, nil for a plain quit
}

// Main runs the double as a process and returns its exit code.
func Main(args []string) int {
	opts, argErr := parseArgs(builtIn(args))
	Version = cmp.Or(opts.get("sim-version"), Version)
	c, err := clockOf(opts)
	if argErr == nil {
		argErr = err
	}
	n := &Node{opts: opts, clock: c, log: newLogger(c), dirs: newFolders(opts), term: make(chan struct{}), tasks: make(chan func(), 1024),
		ending: make(chan struct{})}
	if err := n.log.load(opts.path(opts.configDir, opts.get("logconf"))); err != nil {
		n.log.raw(err.Error() + "\n")
	}
	n.say(mainSite(158, "main"), "nodeos started")
	code := n.run(argErr)
	n.log.lastWords()
	return code
}

func (n *Node) run(argErr error) int {
	o := n.opts
	if argErr == nil {
		switch {
		case o.set("help"):
			print1(helpText())
			return 0
		case o.set("version"):
			print1(Version + "\n")
			return 0
		case o.set("full-version"):
			print1(fullVersion() + "\n")
			return 0
		case o.set("print-default-config"):
			print1(defaultConfig())
			return 0
		}
		argErr = o.readConfig()
	}
	if argErr == nil {
		argErr = o.check()
	}
	if argErr == nil {
		argErr = o.exitAtStart()
	}
	if argErr == nil {
		var c clock // config.ini may tell
		if c, argErr = clockOf(o); c.offset != n.clock.offset || (c.moved == nil) != (n.clock.moved == nil) {
			n.clock, n.log.clock = c, c
		}
	}
	if argErr == nil {
		n.dirs = newFolders(o)
		n.producers = cleanNames(o.all("producer-name"))
		n.chain = &controller{clock: n.clock, log: n.log, savanna: o.flag("sim-savanna"), dirs: n.dirs, accepted: func(*node) {}}
		n.signals()
		argErr = n.initialize()
	}
	n.snaps = &snapshots{node: n}
	started := false
	if argErr == nil && !n.interrupted() {
		if argErr = n.startChain(); argErr == nil {
			started = true
			n.chain.info, n.chain.lib = n.cacheInfo, n.snaps.irreversible
			n.cacheInfo()
			argErr = n.startPlugins()
		}
	}
	if argErr == nil && started {
		n.loop()
		argErr = n.failure
	} else if n.interrupted() {
		n.quitLines()
	}
	return n.shutdown(argErr, started)
}

// print1 writes to standard output what a command line option asked for.
func print1(text string) { _, _ = os.Stdout.WriteString(text) }

// signals arranges SIGTERM and SIGINT (quit), SIGHUP (logging.json again) and SIGPIPE, which nodeos takes as quit when sent by
// hand. They act on the main thread, so a blocked one does not see them.
func (n *Node) signals() {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		for s := range ch {
			if s == syscall.SIGHUP {
				n.post(n.reloadLogging)
				continue
			}
			if !n.interrupted() {
				close(n.term)
			}
		}
	}()
}

func (n *Node) interrupted() bool {
	select {
	case <-n.term:
		return true
	default:
		return false
	}
}

func (n *Node) reloadLogging() {
	path := n.opts.path(n.opts.configDir, n.opts.get("logconf"))
	at := site{"main.cpp", 119, "logging_conf_handler"}
	if n.dirs.exists(path) {
		n.say(at, "Received HUP.  Reloading logging configuration from %s.", path)
	} else {
		at.line = 122
		n.say(at, "Received HUP.  No log config found at %s, setting to default.", path)
	}
	if err := n.log.load(path); err != nil {
		n.log.raw(err.Error() + "\n")
	}
}

// post hands work to the main loop, in order; dropped once that has ended.
func (n *Node) post(f func()) {
	select {
	case n.tasks <- f:
	case <-n.ending:
	}
}

// call runs f on the main loop and waits for it; false when the process ends first.
func (n *Node) call(f func()) bool {
	done := make(chan struct{})
	n.post(func() { f(); close(done) })
	select {
	case <-done:
		return true
	case <-n.ending:
		return false
	}
}

// quit ends the main loop after the task that calls it. Main thread only.
func (n *Node) quit() {
	n.quitted = true
	n.quitLines()
}

func (n *Node) quitLines() {
	if n.quits == 0 {
		n.say(mainSite(193, "operator()"), "appbase quit called")
		n.log.log(logProducer, levelInfo, prodSite(3097, "interrupt"), "interrupt")
	}
	n.quits++
}

// fail ends the main loop with an error, as an exception thrown out of nodeos' loop does.
func (n *Node) fail(err error) {
	n.failure = err
	n.quit()
}

// startPlugins is every plugin's startup; HTTP comes up last, as a task of the main loop.
func (n *Node) startPlugins() error {
	n.say(site{"chain_plugin.cpp", 1160, "plugin_startup"}, "starting chain in read/write mode")
	if n.freshState && n.snapshot == nil {
		n.say(site{"chain_plugin.cpp", 1164, "plugin_startup"}, "Blockchain started; head block is #%d, genesis timestamp is %s",
			n.chain.head.num, formatTime(n.chain.genesis.timestamp))
	} else {
		n.say(site{"chain_plugin.cpp", 1168, "plugin_startup"}, "Blockchain started; head block is #%d", n.chain.head.num)
	}
	n.apiLines("node", "chain_ro", "chain_rw")
	safety, err := n.openSafety()
	if err != nil {
		return err
	}
	n.chain.safety = safety
	n.prod.startup()
	n.apiLines("producer_ro", "producer_rw", "snapshot")
	if err := n.startNetwork(); err != nil {
		return err
	}
	n.apiLines("net_rw", "net_ro", "db_size")
	n.spaceLines()
	n.watchSpace()
	n.http = newHTTPServer(n)
	n.post(func() {
		if err := n.http.listen(); err != nil {
			n.log.log(logHTTP, levelError, site{"http_plugin.cpp", 500, "operator()"}, "http_plugin startup fails for Bad address")
			n.fail(err)
			n.log.raw("Caught application loop exception: \"Bad address\"\n")
			return
		}
		n.exitAfter(n.opts.duration("sim-exit-after"))
		n.prod.loop()
	})
	return nil
}

// apiPlugin says which plugin serves a category of endpoints.
var apiPlugin = map[string]string{
	"node": "", "prometheus": "prometheus", "chain_ro": "chain_api", "chain_rw": "chain_api", "producer_ro": "producer_api", "producer_rw": "producer_api",
	"snapshot": "producer_api", "net_ro": "net_api", "net_rw": "net_api", "db_size": "db_size_api",
}

func (n *Node) serves(category string) bool {
	p := apiPlugin[category]
	return p == "" && (n.plugin("chain_api") || n.plugin("http")) || p != "" && n.plugin(p)
}

func (n *Node) apiLines(categories ...string) {
	for line := range strings.Lines(endpointsTable) {
		category, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if contains(categories, category) && n.serves(category) {
			n.handlerLine(category, path)
		}
	}
}

func (n *Node) handlerLine(category, path string) {
	where := n.opts.get("http-server-address")
	if s := n.opts.get("unix-socket-path"); s != "" {
		where = "./" + strings.TrimPrefix(s, "./") + " " + where
	}
	n.say(site{"http_plugin.cpp", 525, "log_add_handler"}, "add %s api url: %s on %s ", category, path, where)
}

func (n *Node) startNetwork() error {
	o := n.opts
	nw := &network{
		clock: n.clock, log: n.log, chain: n.chain, agent: o.get("agent-name"), maxNodes: int(o.num("p2p-max-nodes-per-host")),
		clients: int(o.num("max-clients")), latency: o.duration("sim-p2p-latency"), loss: o.float("sim-p2p-loss"),
		deaf: o.flag("sim-never-sync"), cycle: o.duration("sim-p2p-reconnect"), cuts: newCuts(), conns: map[int]*peer{}, wanted: map[string]*want{},
	}
	nw.ctx, nw.cancel = context.WithCancel(context.Background())
	n.net = nw
	var waiting atomic.Bool // on_incoming_block is posted once, however many blocks came
	nw.incoming = func() {
		if waiting.CompareAndSwap(false, true) {
			n.post(func() { waiting.Store(false); n.prod.onIncoming() })
		}
	}
	n.prod.broadcast = func(nd *node) { n.produced.Add(1); nw.broadcast(nd, nil) }
	_, _ = rand.Read(nw.nodeID[:])
	n.log.log(logNet, levelInfo, netSite(4518, "plugin_startup"), "my node_id is %s", nw.nodeID)
	n.log.log(logNet, levelInfo, netSite(4605, "plugin_startup"), "setting block_sync_rate_limit to 0.00000000000000000 megabytes per second")
	endpoint := o.get("p2p-listen-endpoint")
	if parts := strings.Split(endpoint, ":"); len(parts) > 2 {
		endpoint = parts[0] + ":" + parts[1]
	}
	if nw.address = o.get("p2p-server-address"); nw.address == "" {
		nw.address = endpoint
	}
	if endpoint != "" {
		if err := nw.listen(endpoint); err != nil {
			n.cannotListen(endpoint, err)
			n.log.log(logNet, levelError, netSite(4620, "plugin_startup"), "net_plugin::plugin_startup failed to listen on %s, Bad address", endpoint)
			return err
		}
		n.say(site{"listener.hpp", 150, "log_listening"}, "start listening on %s resolved from %s, max clients is %d", endpoint, endpoint, nw.clients)
	}
	if file := o.get("sim-partition-file"); file != "" {
		nw.wg.Add(1)
		go func() { defer nw.wg.Done(); nw.cuts.watch(file, nw.ctx.Done()) }()
	}
	nw.run()
	for _, a := range o.all("p2p-peer-address") {
		if a != nw.address {
			nw.connect(a)
		}
	}
	return nil
}

func (n *Node) cannotListen(endpoint string, err error) {
	n.log.log(logDefault, levelWarn, site{"listener.hpp", 233, "operator()"}, "unable to listen on %s resolved from %s: bind: %s [system:98 at "+
		"/src/spring/libraries/boost/libs/asio/include/boost/asio/detail/reactive_socket_service.hpp:161:5 in function 'bind']", endpoint, endpoint, asioError(err))
	n.log.log(logDefault, levelError, site{"listener.hpp", 255, "create_listener"}, "none of the addresses resolved from %s can be listened to", endpoint)
}

// loop is nodeos' main loop: the production timer first, then whatever was posted, until quit.
func (n *Node) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !n.quitted {
		p := n.prod
		wait := time.Hour
		if p.timerFn != nil {
			if wait = time.Until(n.clock.real(p.timerAt)); wait <= 0 && !n.interrupted() {
				fn := p.timerFn
				p.timerFn = nil
				fn()
				continue
			}
		}
		timer.Reset(wait)
		select {
		case <-n.term:
			n.quit()
		case f := <-n.tasks:
			f()
		case <-timer.C:
		}
	}
}

// shutdown ends the process as nodeos does: the block in progress is dropped, state and fork database are written, and the
// exit code tells why.
func (n *Node) shutdown(err error, started bool) int {
	close(n.ending)
	if n.http != nil {
		n.http.close()
	}
	if n.net != nil {
		n.net.close()
	}
	clean := started
	if n.failure != nil || err == nil {
		n.closeChain(clean)
		n.versionLine(mainSite(163, "operator()"))
		n.optionsLine()
	} else {
		n.versionLine(mainSite(163, "operator()"))
		n.optionsLine()
		n.closeChain(clean)
	}
	if err == nil {
		n.say(mainSite(253, "main"), "nodeos successfully exiting")
		return 0
	}
	var e *chainError
	var o *optionError
	var code exitCode
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &e) && e.exit == 2:
		n.log.log(logDefault, levelError, mainSite(222, "main"), "database dirty flag set (likely due to unclean shutdown): replay required")
		return 2
	case e != nil && e.exit == 1:
		n.log.log(logDefault, levelError, mainSite(232, "main"), "bad alloc")
		return 1
	case e != nil:
		n.log.log(logDefault, levelError, mainSite(229, "main"), "%s", e.detail())
	case errors.As(err, &o):
		n.log.log(logDefault, levelError, mainSite(235, "main"), "%s", o.detail())
	default:
		text := err.Error()
		if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EACCES) {
			text = "Bad address"
		}
		n.log.log(logDefault, levelError, mainSite(242, "main"), "%s", text)
	}
	return 254
}

func (n *Node) closeChain(started bool) {
	if n.state == nil {
		return
	}
	var err error
	var head Hash
	if started {
		head = n.chain.head.id
		err = n.chain.close()
	} else {
		n.say(site{"fork_database.cpp", 668, "close"}, "No fork_database to persist")
	}
	if err = errors.Join(err, n.chain.disk.close(), n.state.close(head)); err != nil {
		n.log.raw(err.Error() + "\n")
	}
	if !started && (n.freshState || n.snapshot != nil) {
		_ = removeIfThere(n.dirs.memory()) // an interrupted first start leaves nothing that the next one trips over
	}
	n.state = nil
}

// snapshotPath is where the snapshot of a block is, or is being made: prefix is "", ".pending-" or ".incomplete-".
func (n *Node) snapshotPath(id Hash, prefix string) string {
	return filepath.Join(n.dirs.snapshots, prefix+"snapshot-"+id.String()+".bin")
}
