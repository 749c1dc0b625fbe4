package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// helper is the main program of the test binary run as another process: a fake nodeos, or a manager with one.
func helper(role string) int {
	switch role {
	case "nodeos":
		return fakeNodeos()
	case "manager":
		return fakeManager()
	case "sidecar":
		return fakeSidecar()
	case "hook":
		return fakeHook()
	case "worker":
		return fakeWorker()
	case "holder", "locker", "reader": // keeps a file of a data directory open, or locked as nodeos does, or only reads it
		mode := os.O_RDWR | os.O_CREATE
		if role == "reader" {
			mode = os.O_RDONLY
		}
		f, err := os.OpenFile(os.Getenv("NODE_TEST_FILE"), mode, 0o600)
		if err != nil {
			return 1
		}
		if role == "locker" {
			if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
				return 1
			}
		}
		fmt.Println("open")
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = f.Close()
		return 0
	}
	return 3
}

func logf(level, fn, format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%-5s %s %-9s %-29s %-20s ] %s\n", level, time.Now().UTC().Format("2006-01-02T15:04:05.000"), "nodeos", "main.cpp:1", fn, fmt.Sprintf(format, a...))
}

func flag(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// fakeNodeos behaves as the file data/mode says: ok, exit254, partial (its blocks begin at #22), hang, stubborn, slow, flood.
func fakeNodeos() int {
	args := os.Args[1:]
	if slices.Contains(args, "--full-version") {
		logf("info", "main", "nodeos started")
		fmt.Println("v1.2.2-04bdb089edc7e3c3f954e0aab4a7f3cb48635788")
		return 0
	}
	data := flag(args, "--data-dir")
	b, _ := os.ReadFile(filepath.Join(data, "mode"))
	mode := strings.TrimSpace(string(b))
	starts, err := os.OpenFile(filepath.Join(data, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 9
	}
	_, _ = fmt.Fprintf(starts, "%d %s JOURNAL=%q\n", os.Getpid(), strings.Join(args, " "), os.Getenv("JOURNAL_STREAM"))
	_ = starts.Close()
	replay := slices.Contains(args, "--replay-blockchain")
	if mode == "hang" {
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	logf("info", "main", "nodeos started")
	dirty := filepath.Join(data, "state", "dirty")
	switch _, err := os.Stat(dirty); {
	case mode == "exit254":
		logf("error", "main", "Throw location unknown\nDynamic exception type: x\nstd::exception::what: Unknown option 'zz' inside the config file")
		return 254
	case err == nil && !replay:
		fmt.Fprintln(os.Stderr, "Database dirty flag set")
		logf("error", "main", "database dirty flag set (likely due to unclean shutdown): replay required")
		return 2
	}
	if err := os.MkdirAll(filepath.Dir(dirty), 0o755); err != nil {
		return 9
	}
	if err := os.WriteFile(dirty, nil, 0o600); err != nil { // as nodeos' own flag: set while it runs
		return 9
	}
	first := byte(1)
	if mode == "partial" {
		first = 22
	}
	blocks := filepath.Join(data, "blocks")
	if err := errors.Join(os.MkdirAll(blocks, 0o755), os.WriteFile(filepath.Join(blocks, "blocks.log"), []byte{3, 0, 0, 0, first, 0, 0, 0}, 0o600),
		os.WriteFile(filepath.Join(blocks, "blocks.index"), make([]byte, 80), 0o600)); err != nil {
		return 9
	}
	ini, _ := os.ReadFile(filepath.Join(flag(args, "--config-dir"), "config.ini"))
	addr, _, _ := strings.Cut(strings.TrimPrefix(string(ini), "http-server-address = "), "\n")
	term := make(chan os.Signal, 8) // before it says that it listens: who read that may signal at once
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT, syscall.SIGPIPE)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		logf("warn", "operator()", "unable to listen on %s resolved from %s: bind: Address already in use [system:98]", addr, addr)
		_ = os.Remove(dirty)
		return 254
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"head_block_num":1,"head_block_id":"00000001","head_block_time":"2026-11-21T00:39:00.000","server_version_string":"v1.2.2"}`)
	})}
	go func() { _ = srv.Serve(l) }()
	logf("info", "log_listening", "start listening on %s resolved from %s for API categories: all", addr, addr)
	if mode == "flood" {
		for len(term) == 0 {
			logf("info", "main", "%s", strings.Repeat("flood ", 200))
			fmt.Println(strings.Repeat("out ", 200))
		}
	}
	for n := 1; ; n++ {
		if <-term; mode == "stubborn" || mode == "slow" && n < 3 {
			continue
		}
		break
	}
	_ = srv.Close()
	_ = os.Remove(dirty)
	logf("info", "main", "nodeos successfully exiting")
	return 0
}

// fakeSidecar behaves as its first argument says (ok, stubborn, exits), and notes in the file of its second what happens and
// whether the node's HTTP, its third, answers then.
func fakeSidecar() int {
	mode, file, addr := os.Args[1], os.Args[2], os.Args[3]
	note := func(what string) {
		node := "node=down"
		if c, err := net.Dial("tcp", addr); err == nil {
			node = "node=up"
			_ = c.Close()
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintln(f, what, node)
		_ = f.Close()
	}
	term := make(chan os.Signal, 8)
	signal.Notify(term, syscall.SIGTERM)
	note(mode + " up")
	fmt.Println("hello of", mode, os.Getenv("SIDECAR_WORD"), os.Getenv("NODE_WORD"))
	logf("info", "log_applied", "Produced block 766f7b4941df3a9a... #27 @ 2026-11-21T00:39:01.000 signed by eosio [trxs: 0, lib: 26, latency: 1 ms]")
	if mode == "exits" {
		return 3
	}
	for range term {
		if note(mode + " down"); mode == "ok" {
			break
		}
	}
	return 0
}

// fakeHook behaves as its first argument says.
func fakeHook() int {
	fmt.Println("checking", os.Getenv("HOOK_WORD"), os.Getenv("ROUNDTABLE_TOKEN"))
	switch os.Args[1] {
	case "refuses":
		for i := range 100 {
			fmt.Fprintln(os.Stderr, "reason", i)
		}
		fmt.Fprintln(os.Stderr, "signature-provider = EOS6x=KEY:5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3")
		return 7
	case "hangs": // with a process of its own that does not want to go either
		signal.Ignore(syscall.SIGTERM)
		child := exec.Command(os.Args[0], "hangs too")
		child.Stdout = os.Stdout
		child.Env = append(os.Environ(), "NODE_TEST_ROLE=hook")
		if err := child.Start(); err != nil {
			return 9
		}
		fmt.Println("pid", child.Process.Pid)
		_ = child.Wait()
	case "hangs too":
		select {}
	case "flood":
		for range 10000 {
			fmt.Println(strings.Repeat("x", 5000))
		}
		fmt.Println("the end")
	}
	return 0
}

// fakeWorker behaves as its first argument says.
func fakeWorker() int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("worker", os.Getpid(), os.Getenv("WORKER_WORD"), os.Getenv("ROUNDTABLE_TOKEN"))
	fmt.Fprintln(os.Stderr, "signature-provider = EOS6x=KEY:5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3")
	switch os.Args[1] {
	case "echo":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "fails":
		fmt.Fprintln(os.Stderr, "no permission")
		return 7
	case "long":
		fmt.Println(strings.Repeat("x", workerLine+10))
		fmt.Println("after it")
	case "flood":
		for i := range 20000 {
			fmt.Println("line", i)
		}
	case "threads": // as many as it can, until it is told to end
		for range 20 {
			go func() { runtime.LockOSThread(); select {} }()
		}
		<-term
	case "stubborn":
		select {}
	}
	return 0
}

// fakeManager runs a supervisor until it is killed.
func fakeManager() int {
	dir := os.Getenv("NODE_TEST_DIR")
	if dir == "" { // it has a worker
		err := RunWorker(context.Background(), WorkerConfig{Path: os.Args[0], Args: []string{"stubborn"}, Env: []string{"NODE_TEST_ROLE=worker"},
			Line: func(b []byte) { fmt.Println("child", strings.Fields(string(b))[1]) }})
		fmt.Println(err)
		return 1
	}
	s, err := New(Config{Path: os.Args[0], Env: append(os.Environ(), "NODE_TEST_ROLE=nodeos"), ConfigDir: dir + "/config", DataDir: dir + "/data",
		Pipeline: NewPipeline(PipelineConfig{}), Ready: func(context.Context) error { return nil }})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		for {
			st, changed := s.Watch()
			if st.State == StateRunning {
				fmt.Println("child", st.PID)
				return
			}
			<-changed
		}
	}()
	_ = s.Run(context.Background())
	return 0
}
