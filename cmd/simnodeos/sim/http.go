package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// httpServer is http_plugin: any method for any path, headers in nodeos' order, keep-alive. Each connection has its own
// goroutine, as nodeos has http threads; only get_info, net and the like are answered on it, the rest by the main thread.
type httpServer struct {
	node     *Node
	address  string
	validate bool
	verbose  bool
	maxBody  int64
	handlers map[string]handler

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]bool
	counts    map[string]int
	wg        sync.WaitGroup
	closed    bool
}

// response is an answer: JSON unless text.
type response struct {
	status int
	body   string
	text   bool
	late   bool // nodeos writes Content-Type before Server in answers of the server itself
}

type handler struct {
	category string
	params   paramKind
	fn       func(body []byte) response
}

type paramKind int

const (
	noParams       paramKind = iota // a body is refused
	optionalParams                  // a body may be there
	requiredParams
	anyParams // whatever comes is ignored
)

func newHTTPServer(n *Node) *httpServer {
	s := &httpServer{node: n, address: n.opts.get("http-server-address"), validate: n.opts.flag("http-validate-host"),
		verbose: n.opts.flag("verbose-http-errors"), maxBody: n.opts.num("max-body-size"), conns: map[net.Conn]bool{}, counts: map[string]int{}}
	s.handlers = n.endpoints()
	return s
}

// listen opens the configured TCP address and unix socket. A port that is no number is no error: nodeos then runs without HTTP.
func (s *httpServer) listen() error {
	served := false
	for _, c := range []string{"node", "prometheus", "producer_ro", "net_ro", "db_size"} {
		served = served || s.node.serves(c)
	}
	if !served {
		return nil
	}
	if path := s.node.opts.get("unix-socket-path"); path != "" {
		path = s.node.opts.path(s.node.opts.dataDir, path)
		_ = os.Remove(path)
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
		if err != nil {
			return err
		}
		s.serve(l, false)
		s.node.say(site{"listener.hpp", 150, "log_listening"}, "start listening on Unix socket %s for API categories: all", path)
	}
	if s.address == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.address)
	switch {
	case err == nil:
	case errors.Is(err, unix.EADDRINUSE), errors.Is(err, unix.EACCES), errors.Is(err, unix.EADDRNOTAVAIL):
		s.node.cannotListen(s.address, err)
		s.node.log.log(logHTTP, levelError, site{"http_plugin.cpp", 257, "create_beast_server"}, "http service failed to start for %s: Bad address", s.address)
		return err
	default:
		return nil
	}
	s.serve(l, s.validate)
	s.node.say(site{"listener.hpp", 150, "log_listening"}, "start listening on %s resolved from %s for API categories: all", s.address, s.address)
	return nil
}

func (s *httpServer) serve(l net.Listener, validate bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.closed {
				s.mu.Unlock()
				_ = c.Close()
				return
			}
			s.conns[c] = true
			s.wg.Add(1)
			s.mu.Unlock()
			go s.session(c, validate)
		}
	}()
}

// close ends all sessions and waits for them.
func (s *httpServer) close() {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *httpServer) session(c net.Conn, validate bool) {
	defer s.wg.Done()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.Close()
	}()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return // nodeos closes without an answer
		}
		var body []byte
		if req.Body != nil {
			if body, err = io.ReadAll(io.LimitReader(req.Body, s.maxBody+1)); err != nil || int64(len(body)) > s.maxBody {
				return // nodeos resets
			}
		}
		var answer response
		if validate && req.Host != s.address {
			answer = response{status: 400, late: true,
				body: `{"code":400,"message":"Disallowed HTTP HOST header in the request","error":{"code":0,"name":"","what":"","details":[]}}`}
		} else {
			answer = s.answer(req.Method, req.URL.Path, body)
		}
		if answer.status == 0 { // the process ends
			return
		}
		keep := req.ProtoAtLeast(1, 1) && !req.Close && truth(s.node.opts.get("http-keep-alive"))
		if _, err := io.WriteString(c, format(answer, req, keep)); err != nil || !keep {
			return
		}
	}
}

func format(a response, req *http.Request, keep bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.%d %d %s\r\n", req.ProtoMinor, a.status, http.StatusText(a.status))
	kind := "application/json"
	if a.text {
		kind = "text/plain"
	}
	connection := ""
	if !keep && req.ProtoAtLeast(1, 1) {
		connection = "Connection: close\r\n"
	}
	if a.late {
		fmt.Fprintf(&b, "Content-Type: %s\r\n%sServer: nodeos/%s\r\n", kind, connection, Version)
	} else {
		fmt.Fprintf(&b, "%sServer: nodeos/%s\r\nContent-Type: %s\r\n", connection, Version, kind)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(a.body))
	if req.Method != http.MethodHead {
		b.WriteString(a.body)
	}
	return b.String()
}

func (s *httpServer) answer(method, path string, body []byte) response {
	if method == http.MethodOptions {
		return response{status: 200, body: "{}", late: true}
	}
	h, ok := s.handlers[path]
	if !ok {
		return response{status: 404, late: true, body: `{"code":404,"message":"Not Found","error":{"code":0,"name":"exception","what":"unspecified",` +
			`"details":[{"message":"Unknown Endpoint","file":"beast_http_session.hpp","line_number":186,"method":"handle_request"}]}}`}
	}
	s.mu.Lock()
	s.counts[path]++
	s.mu.Unlock()
	trimmed := strings.TrimSpace(string(body))
	parse := func(line int, message string) response {
		details := []httpDetail{{"Unable to parse valid input from POST body", "http_plugin.hpp", 278, "parse_params"}}
		if s.verbose {
			details = append(details, httpDetail{message, "http_plugin.hpp", line, "parse_params"})
		}
		return failure(400, "Invalid Request", 3200006, "invalid_http_request", "invalid http request", details...)
	}
	switch {
	case h.params == noParams && trimmed != "" && trimmed != "{}":
		return parse(271, "no parameter should be given")
	case h.params == requiredParams && trimmed == "":
		return failure(400, "Invalid Request", 3200006, "invalid_http_request", "invalid http request",
			httpDetail{"A Request body is required", "http_plugin.hpp", 257, "parse_params"})
	case (h.params == requiredParams || h.params == optionalParams) && trimmed != "" && !validJSON(trimmed):
		return parse(461, "Unexpected content")
	}
	return h.fn([]byte(trimmed))
}

type httpDetail struct {
	message string
	file    string
	line    int
	method  string
}

// failure is an error answer in the shape of the recordings c-http.
func failure(status int, message string, code int64, name, what string, details ...httpDetail) response {
	parts := make([]string, len(details))
	for i, d := range details {
		parts[i] = fmt.Sprintf(`{"message":%s,"file":"%s","line_number":%d,"method":"%s"}`, quoteJSON(d.message), d.file, d.line, d.method)
	}
	return response{status: status, body: fmt.Sprintf(`{"code":%d,"message":"%s","error":{"code":%d,"name":"%s","what":"%s","details":[%s]}}`,
		status, message, code, name, what, strings.Join(parts, ","))}
}
