package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/security"
)

const (
	badRequests = 1000
	badSeed     = 20261121
	slowOnes    = 8 // of them, that do not come to their end
)

// bad is a request as it goes over the wire, and what it may be answered with.
type bad struct {
	kind   string
	text   string
	want   []int // statuses; empty: HTTP itself is broken, and any 4xx or the end of the connection will do
	hold   bool  // the connection stays open after it: the server must lose patience
	answer string
}

// TestBadRequests sends 1,000 bad requests to real managers with TLS and tokens: each is refused with a 4xx, nothing
// changes, nothing is told that is a secret, and production does not notice.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := layOutSecured(t, drill.Options{})
	s.start()
	before, first := s.standing(), drill.SlotNow()+1
	g := &generator{rand: rand.New(rand.NewPCG(badSeed, 0)), s: s}
	list := make([]*bad, badRequests)
	for i := range list {
		list[i] = g.next(i)
	}

	// Some at once, as an attacker would; from many addresses, for from one of them most would be asked too often.
	var wg sync.WaitGroup
	work := make(chan int)
	statuses := make([]int, len(list))
	for range 8 {
		wg.Go(func() {
			for i := range work {
				for statuses[i] = s.sendBad(list[i], i); statuses[i] == http.StatusTooManyRequests; statuses[i] = s.sendBad(list[i], i) {
					time.Sleep(time.Second) // as Retry-After says: a token has its limits, wherever it comes from
				}
			}
		})
	}
	for i, b := range list {
		if b.hold { // it takes its time
			wg.Go(func() { statuses[i] = s.sendBad(b, i) })
			continue
		}
		work <- i
	}
	close(work)
	wg.Wait()

	refused, broken := map[int]int{}, map[int]int{}
	secrets := s.secrets()
	for i, b := range list {
		status := statuses[i]
		switch {
		case len(b.want) == 0 && (status == 0 || status >= 400 && status < 500 || status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported):
			broken[status]++
			continue // by net/http, before it was a request; what it says of other transfer encodings and versions is 501 and 505
		case !slices.Contains(b.want, status):
			t.Errorf("request %d (%s): status %d, want %v\n%.300q\n%s", i, b.kind, status, b.want, b.text, b.answer)
			continue
		}
		refused[status]++
		if strings.HasPrefix(b.text, "HEAD ") {
			continue
		}
		var e struct {
			Error struct{ Code, Message, Hint string }
		}
		_, body, _ := strings.Cut(b.answer, "\r\n\r\n")
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" || e.Error.Hint == "" || len(body) > 2000 {
			t.Errorf("request %d (%s): the answer is not an error as it should be: %v\n%.200q\n%s", i, b.kind, err, b.text, b.answer)
		}
	}
	for i, b := range list {
		answer := b.answer
		for name, text := range secrets {
			if strings.Contains(answer, text) || len(text) > 40 && strings.Contains(answer, text[10:]) {
				t.Errorf("request %d (%s): the answer has the %s", i, b.kind, name)
			}
		}
		for _, trace := range []string{"goroutine ", ".go:", "panic", "runtime error", s.Dir} {
			if strings.Contains(answer, trace) {
				t.Errorf("request %d (%s): the answer has %q:\n%s", i, b.kind, trace, answer)
			}
		}
	}
	t.Logf("%d bad requests, seed %d: %v; where HTTP itself was broken: %v (0: closed)", len(list), badSeed, refused, broken)

	if d := cmp.Diff(before, s.standing()); d != "" {
		t.Errorf("something was changed (-before +after):\n%s", d)
	}
	s.signedAll(first, drill.SlotNow()-2)
	for _, m := range s.Members {
		if !m.Running() {
			t.Errorf("the manager of %s ended", m.ID)
		}
		for name, text := range secrets {
			if name == "producer's key" {
				continue // layOut looks for it
			}
			if found := slices.DeleteFunc(grep(t, m.Home, text), func(file string) bool { return strings.Contains(file, "/tls/") }); len(found) > 0 {
				t.Errorf("the %s stands in %v", name, found)
			}
		}
	}
	// And it still does what it is told.
	c, err := s.dial(s.Members[0], net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	good := &bad{text: request("POST", "/cluster/maintenance", `{"on":true,"member":"m2"}`, "Authorization: Bearer "+s.tokens[api.Operate])}
	if status := exchange(c, good); status != http.StatusOK {
		t.Errorf("a good request afterwards: %d %s", status, good.answer)
	}
}

// standing is all of a cluster that a request could change, as each member knows it.
type standing struct {
	Epoch   map[string]uint64
	Holder  map[string]string
	Members map[string][]string
	Config  map[string]api.ClusterConfig
	Ops     map[string][]api.Operation
	History map[string][]api.Event
	Tokens  map[string][]api.Token
	Votes   map[string][]string
}

func (s *secured) standing() (v standing) {
	s.t.Helper()
	v = standing{
		map[string]uint64{}, map[string]string{}, map[string][]string{}, map[string]api.ClusterConfig{}, map[string][]api.Operation{},
		map[string][]api.Event{}, map[string][]api.Token{}, map[string][]string{},
	}
	for _, m := range s.Members {
		look := func(path string, into any) {
			if err := s.get(s.t.Context(), m, path, into); err != nil {
				s.t.Fatal(err)
			}
		}
		var o api.Overview
		look("/cluster", &o)
		v.Epoch[m.ID], v.Holder[m.ID] = o.Lease.Epoch, o.Lease.Holder
		for _, r := range o.Members {
			v.Members[m.ID] = append(v.Members[m.ID], fmt.Sprint(r.ID, r.Priority, r.NoFailover, r.Maintenance, r.Suffrage, r.Nonvoter, r.API, r.Raft, r.P2P, r.Joined, r.Started))
		}
		var c api.ClusterConfig
		var ops []api.Operation
		var history []api.Event
		var tokens []api.Token
		look("/cluster/config", &c)
		look("/cluster/operations", &ops)
		look("/cluster/history", &history)
		look("/cluster/tokens", &tokens)
		v.Config[m.ID], v.Ops[m.ID], v.History[m.ID], v.Tokens[m.ID] = c, ops, history, tokens
	}
	return v
}

// signedAll wants a signature of every slot in the ledgers, by one node.
func (s *secured) signedAll(first, last uint64) {
	s.t.Helper()
	ledger, err := drill.ReadLedgers(s.Ledgers())
	if err != nil {
		s.t.Fatal(err)
	}
	signed := map[uint64]bool{}
	for _, l := range ledger {
		signed[l.Slot] = true
	}
	missed := 0
	for slot := first; slot <= last; slot++ {
		if !signed[slot] {
			missed++
		}
	}
	if d := drill.Doubles(ledger); missed > 0 || len(d) > 0 {
		s.t.Errorf("of the slots %d to %d %d were missed; signed twice: %v", first, last, missed, d)
	}
	s.t.Logf("%d slots meanwhile, %d missed", last-first+1, missed)
}

// sendBad sends the i-th request from an address of its own to one of the members.
func (s *secured) sendBad(b *bad, i int) (status int) {
	c, err := s.dial(s.Members[i%len(s.Members)], net.IPv4(127, 0, byte(1+i%7), byte(1+i%200)))
	if err != nil {
		return 0
	}
	return exchange(c, b)
}

// exchange sends a request and reads all of the answer.
func exchange(c net.Conn, b *bad) (status int) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make(chan struct{})
	go func() { // the answer may come before all was sent
		defer close(sent)
		_, _ = io.WriteString(c, b.text)
	}()
	text, err := io.ReadAll(c)
	<-sent
	b.answer = string(text)
	if errors.Is(err, context.DeadlineExceeded) {
		b.answer = "no answer and no end in 30 s: " + b.answer
		return -1
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(b.answer)), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// request writes a request.
func request(method, path, body string, headers ...string) string {
	text := method + " " + path + " HTTP/1.1\r\nHost: m\r\nConnection: close\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	if body != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return text + "\r\n" + body
}

// generator draws bad requests.
type generator struct {
	rand *rand.Rand
	s    *secured
}

func pick[T any](g *generator, list ...T) T { return list[g.rand.IntN(len(list))] }

// as is the header of who has a role.
func (g *generator) as(role api.Role) string { return "Authorization: Bearer " + g.s.tokens[role] }

// junk is a text of any bytes but those that end a line.
func (g *generator) junk(most int) string {
	b := make([]byte, g.rand.IntN(most)+1)
	for i := range b {
		if b[i] = byte(g.rand.IntN(256)); b[i] == '\r' || b[i] == '\n' {
			b[i] = ' '
		}
	}
	return string(b)
}

// word is a text that needs no quoting anywhere.
func (g *generator) word(most int) string {
	b := make([]byte, g.rand.IntN(most)+1)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789._-"[g.rand.IntN(48)]
	}
	return string(b)
}

var (
	readPaths = []string{"/cluster", "/cluster/raft", "/cluster/members", "/cluster/members/m1", "/cluster/lease", "/cluster/round", "/cluster/operations", "/cluster/history", "/cluster/events", "/cluster/config"}
	acting    = [][2]string{
		{"POST", "/cluster/restart"}, {"POST", "/cluster/upgrade"}, {"POST", "/cluster/rollout"},
		{"POST", "/cluster/handoff"}, {"POST", "/cluster/maintenance"}, {"POST", "/cluster/leader/transfer"}, {"PATCH", "/cluster/members/m1"}, {"POST", "/cluster/members"},
		{"PATCH", "/cluster/config"}, {"POST", "/cluster/tokens"},
	}
	removing = []string{"/cluster/operations/1", "/cluster/members/m9", "/cluster/tokens/aaaaaaaa"}
)

// next draws the i-th request: the kinds take turns, what is in them is drawn.
func (g *generator) next(i int) *bad {
	if i < slowOnes {
		return g.slow(i)
	}
	kinds := []func() *bad{
		g.noToken, g.badToken, g.smallRole, g.unknownPath, g.wrongMethod, g.badQuery, g.badBody, g.badBody, g.badBody, g.tooLarge, g.wrongType,
		g.meaningless, g.badKey, g.otherSite, g.badJoin, g.badEvents, g.strangeBody, g.brokenHTTP, g.brokenHTTP,
	}
	return kinds[i%len(kinds)]()
}

func (g *generator) act() (method, path string) {
	a := pick(g, acting...)
	return a[0], a[1]
}

func (g *generator) noToken() *bad {
	if g.rand.IntN(2) == 0 {
		return &bad{kind: "no token", text: request(pick(g, "GET", "HEAD"), pick(g, append(slices.Clone(readPaths), "/metrics", "/debug/pprof/heap", "/cluster/tokens")...), ""), want: []int{401}}
	}
	method, path := g.act()
	return &bad{kind: "no token", text: request(method, path, "{}"), want: []int{401}}
}

func (g *generator) badToken() *bad {
	good := g.s.tokens[api.Admin]
	unknown, _, _ := security.NewToken()
	flipped := []byte(good)
	flipped[len(flipped)-1-g.rand.IntN(30)] ^= 1
	header := pick(g, "Bearer "+unknown, "Bearer "+string(flipped), "Bearer "+good[:len(good)-1-g.rand.IntN(40)], "Bearer "+good+g.word(5), "Bearer "+g.s.ended, "Basic "+good, good, "Bearer",
		"Bearer "+strings.ToUpper(good), "Bearer "+g.word(200), "Bearer rt1_"+g.word(20)+"_"+g.word(60), "Negotiate "+g.word(500), "Bearer "+good+", Bearer "+good)
	text := request("GET", pick(g, readPaths...), "", "Authorization: "+header)
	if g.rand.IntN(5) == 0 {
		text = request("GET", "/cluster", "", g.as(api.Admin), g.as(api.Read))
	}
	return &bad{kind: "bad token", text: text, want: []int{401}}
}

func (g *generator) smallRole() *bad {
	switch g.rand.IntN(4) {
	case 0:
		return &bad{kind: "small role", text: request("DELETE", pick(g, removing...), "", g.as(api.Read)), want: []int{403}}
	case 1:
		return &bad{kind: "small role", text: request("GET", pick(g, "/cluster/tokens", "/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/cmdline"), "", g.as(api.Operate)), want: []int{403}}
	case 2:
		return &bad{kind: "small role", text: request("PATCH", "/cluster/members/m1", `{"voter":false}`, g.as(api.Operate)), want: []int{403}}
	}
	method, path := g.act()
	return &bad{kind: "small role", text: request(method, path, `{"on":true,"slots":5,"id":"x","name":"x","role":"read"}`, g.as(api.Read)), want: []int{403}}
}

func (g *generator) unknownPath() *bad {
	path := pick(g, "/"+g.word(40), "/cluster/"+g.word(30), "/cluster/members/m1/"+g.word(10), "/cluster//members", "/cluster/../cluster", "/cluster/members/..%2f..%2fetc%2fpasswd", "/health/"+g.word(9),
		"/health", "/healthz", "/debug", "/debug/pprof/"+g.word(12), "/v1/chain/get_info", "/%00", "/cluster%20", "/cluster/lease/", "/metrics/"+g.word(4), "/.git/config", "//"+g.word(10), "/cluster/operations/"+g.word(9), "/cluster/members/"+g.word(9))
	return &bad{kind: "unknown path", text: request(pick(g, "GET", "HEAD"), path, "", g.as(api.Admin)), want: []int{404}}
}

func (g *generator) wrongMethod() *bad {
	path := pick(g, "/cluster", "/cluster/lease", "/cluster/raft", "/health/live", "/version", "/metrics", "/openapi.yaml", "/cluster/round")
	return &bad{kind: "wrong method", text: request(pick(g, "POST", "PUT", "DELETE", "PATCH", "BREW", "CONNECT-"+strings.ToUpper(g.word(3))), path, "", g.as(api.Admin)), want: []int{404, 405}}
}

func (g *generator) badQuery() *bad {
	q := pick(g, g.word(8)+"=1", "limit=0", "limit=-1", "limit=1e3", "limit=99999999999999999999", "limit=1&limit=2", "%zz=1", "a;b=1", "limit=%", "all=maybe", "since=1", "=", "&&x", "wait=1s")
	return &bad{kind: "bad query", text: request("GET", "/cluster/history?"+q, "", g.as(api.Read)), want: []int{400}}
}

func (g *generator) badBody() *bad {
	method, path := g.act()
	body := pick(g, "{", "}", "[]", "null", `""`, "0", "true", `{"on":`, `{"to":5}`, `{"to":["m1"]}`, `{"on":"yes"}`, `{"slots":"4"}`, `{"slots":-1}`, `{"slots":1e400}`, `{"priority":1.5}`, `{"priority":99999999999999999999}`,
		`{"`+g.word(10)+`":1}`, `{"ON":true}`, `{"on":true,"on":false}`, `{"to":"m1","to":"m2"}`, `{} {}`, `{"on":true}x`, "{\"to\":\"\xff\xfe\"}", "\x00\x01\x02", "<xml/>", "on=true",
		`{"a":`+strings.Repeat(`[`, 100+g.rand.IntN(15000)), strings.Repeat(`{"a":`, 100+g.rand.IntN(5000)), `{"to":"`+strings.Repeat("\\ud800", 100)+`"`, "\xef\xbb\xbf{}", `{"id":"`+g.word(9)+`","`+g.word(9)+`":{}}`,
		`{"producers":"bp"}`, `{"producers":[1]}`, `{"maintenance":1}`, "{'on':true}", `{"on":true,}`, "{/**/}", g.junk(200))
	if g.rand.IntN(3) == 0 { // a good one, spoiled
		good := []byte(`{"on":true,"member":"m2"}`)
		good[g.rand.IntN(len(good))] = byte(g.rand.IntN(32))
		method, path, body = "POST", "/cluster/maintenance", string(good)
	}
	return &bad{kind: "bad body", text: request(method, path, body, g.as(api.Admin), "Content-Type: application/json"), want: []int{400}}
}

func (g *generator) tooLarge() *bad {
	method, path := g.act()
	return &bad{kind: "too large", text: request(method, path, `{"to":"`+strings.Repeat("x", 64<<10+g.rand.IntN(1<<20))+`"}`, g.as(api.Admin)), want: []int{413}}
}

func (g *generator) wrongType() *bad {
	method, path := g.act()
	return &bad{kind: "wrong type", text: request(method, path, `{"on":true}`, g.as(api.Admin), "Content-Type: "+pick(g, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "/", g.word(20), "application/jsonx", "application/json;;;=")), want: []int{415}}
}

// meaningless requests are well-formed, and the cluster refuses them.
func (g *generator) meaningless() *bad {
	type r struct {
		method, path, body string
		want               int
	}
	x := pick(g, r{"POST", "/cluster/handoff", `{"to":"m9"}`, 404}, r{"POST", "/cluster/handoff", `{"to":"` + g.word(30) + `"}`, 404}, r{"POST", "/cluster/handoff", `{"when":"` + g.word(9) + `"}`, 400},
		r{"POST", "/cluster/handoff?wait=-1s", `{}`, 400}, r{"POST", "/cluster/handoff?wait=" + g.word(5), `{}`, 400}, r{"POST", "/cluster/maintenance", `{"on":true,"member":"` + g.word(30) + `"}`, 404}, r{"POST", "/cluster/maintenance", `{}`, 400},
		r{"POST", "/cluster/leader/transfer", `{"to":"` + g.word(30) + `"}`, 404}, r{"PATCH", "/cluster/config", `{"slots":99}`, 409}, r{"PATCH", "/cluster/config", `{"slots":1}`, 409}, r{"PATCH", "/cluster/config", `{"producers":[]}`, 409},
		r{"PATCH", "/cluster/members/" + g.word(30), `{"priority":1}`, 404}, r{"PATCH", "/cluster/members/m1", `{}`, 400}, r{"DELETE", "/cluster/members/" + g.word(30), "", 404}, r{"DELETE", "/cluster/operations/" + fmt.Sprint(g.rand.Uint64()), "", 404},
		r{"DELETE", "/cluster/tokens/" + g.word(30), "", 404}, r{"POST", "/cluster/tokens", `{"name":"` + g.word(9) + `","role":"root"}`, 400}, r{"POST", "/cluster/tokens", `{"name":"../x","role":"read"}`, 400},
		r{"POST", "/cluster/tokens", `{"name":"x","role":"read","ttl":"` + g.word(5) + `"}`, 400}, r{"POST", "/cluster/members", `{"id":"m1"}`, 409}, r{"POST", "/cluster/members", `{"id":"a b"}`, 400}, r{"POST", "/cluster/members", `{"id":"x","ttl":"99999h"}`, 400},
		r{"POST", "/cluster/certificate", `{"csr":"` + g.word(30) + `"}`, 403}, r{"POST", "/cluster/restart", `{}`, 400}, r{"POST", "/cluster/restart", `{"rolling":true,"member":"m1"}`, 400}, r{"POST", "/cluster/restart", `{"member":"` + g.word(30) + `"}`, 404},
		r{"POST", "/cluster/restart", `{"rolling":true,"limit":"` + g.word(5) + `"}`, 400}, r{"POST", "/cluster/upgrade", `{"tag":"../` + g.word(9) + `"}`, 400}, r{"POST", "/cluster/upgrade", `{"tag":"v1","row":{"` + g.word(9) + `":1}}`, 400},
		r{"POST", "/cluster/upgrade", `{"tag":"v1","at_block":1,"hard_fork":true}`, 409}, r{"POST", "/cluster/upgrade", `{"tag":"v1","members":["` + g.word(30) + `"]}`, 404}, r{"POST", "/cluster/rollout", `{}`, 409}, r{"POST", "/cluster/rollout?wait=" + g.word(5), `{}`, 400},
		r{"PATCH", "/cluster/config", `{"overlay":"nonsense"}`, 409}, r{"PATCH", "/cluster/config", `{"overlay":"signature-provider = PUB_K1_x=KEY:PVT_K1_x"}`, 409}, r{"PATCH", "/cluster/config", `{"overlay":"http-server-address = 0.0.0.0:1"}`, 409})
	return &bad{kind: "meaningless", text: request(x.method, x.path, x.body, g.as(api.Admin)), want: []int{x.want}}
}

func (g *generator) badKey() *bad {
	key := pick(g, strings.Repeat("k", 101+g.rand.IntN(900)), "a\tb", "schl\xfcssel", "\xe2\x82\xac")
	return &bad{kind: "bad key", text: request("POST", "/cluster/maintenance", `{"on":true}`, g.as(api.Admin), "Idempotency-Key: "+key), want: []int{400}}
}

func (g *generator) otherSite() *bad {
	method, path := g.act()
	return &bad{kind: "another site", text: request(method, path, `{"on":true}`, g.as(api.Admin), pick(g, "Origin: https://"+g.word(9)+".example", "Sec-Fetch-Site: cross-site", "Origin: null")), want: []int{403}}
}

func (g *generator) badJoin() *bad {
	invite, _, _ := security.NewInvite()
	csr := pick(g, g.word(30), "-----BEGIN CERTIFICATE REQUEST-----\\nAAAA\\n-----END CERTIFICATE REQUEST-----\\n", "")
	body := pick(g, `{"id":"m9","invite":"`+invite+`","csr":"`+csr+`"}`, `{"id":"m9","invite":"`+g.word(40)+`","csr":"`+csr+`"}`, `{"id":"../m9","invite":"`+invite+`","csr":"`+csr+`"}`, `{"id":"m9"}`, `{}`)
	return &bad{kind: "bad join", text: request("POST", "/cluster/join", body), want: []int{400, 409}}
}

func (g *generator) badEvents() *bad {
	id := pick(g, g.word(20)+"x", "-1", "1.0", "1.2.3", "99999999999999999999999.1", "1.", "1.99999999999", "0x1")
	if g.rand.IntN(2) == 0 {
		return &bad{kind: "bad events", text: request("GET", "/cluster/events?since="+id, "", g.as(api.Read)), want: []int{400}}
	}
	return &bad{kind: "bad events", text: request("GET", "/cluster/events", "", g.as(api.Read), "Last-Event-ID: "+id), want: []int{400}}
}

func (g *generator) strangeBody() *bad {
	if g.rand.IntN(2) == 0 {
		return &bad{kind: "a body to a removal", text: request("DELETE", pick(g, removing...), g.word(20), g.as(api.Admin)), want: []int{400}}
	}
	return &bad{kind: "a body to a read", text: request("GET", pick(g, readPaths...), g.word(2000), g.as(api.Read)), want: []int{400}}
}

// brokenHTTP is nothing that a handler ever sees.
func (g *generator) brokenHTTP() *bad {
	return &bad{kind: "broken HTTP", text: pick(g, "GET / HTTP/9.9\r\nHost: m\r\n\r\n", "GET /cluster\r\n\r\n", g.junk(400)+"\r\n\r\n", "GET /\x00 HTTP/1.1\r\nHost: m\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: m\r\nX y: 1\r\n\r\n", "GET / HTTP/1.1\r\nHost: m\r\nX: "+strings.Repeat("h", 20<<10+g.rand.IntN(50<<10))+"\r\n\r\n", "POST /cluster/handoff HTTP/1.1\r\nHost: m\r\nContent-Length: x\r\n\r\n{}",
		"POST /cluster/handoff HTTP/1.1\r\nHost: m\r\nContent-Length: -5\r\n\r\n{}", "POST /cluster/handoff HTTP/1.1\r\nHost: m\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"POST /cluster/handoff HTTP/1.1\r\nHost: m\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"+g.as(api.Admin)+"\r\n\r\nzz\r\n", "POST /cluster/handoff HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: x\r\n\r\n{}",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", strings.Repeat("A", 30<<10), "\x16\x03\x01"+g.junk(100)+"\r\n\r\n", "GET http://[::1/ HTTP/1.1\r\nHost: m\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: m\r\nX\r\n\r\n")}
}

// slow does not come to its end: half a header, half a body.
func (g *generator) slow(i int) *bad {
	if i%2 == 0 {
		return &bad{kind: "a slow header", text: "GET /cluster HTTP/1.1\r\nHost: m\r\nX-" + g.word(10), hold: true}
	}
	method, path := g.act()
	text := request(method, path, `{"on":true}`, g.as(api.Admin))
	return &bad{kind: "a slow body", text: text[:len(text)-1-g.rand.IntN(8)], want: []int{408}, hold: true}
}
