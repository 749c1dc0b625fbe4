package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// profile says which cluster to talk to and as whom. It is what the flags, the environment and a context have in common;
// an empty field leaves it to the next of them.
type profile struct {
	Servers   []string `toml:"servers,omitempty" json:"servers,omitempty"`
	Home      string   `toml:"home,omitempty" json:"home,omitempty"` // of a manager on this machine: its socket is asked, which needs no token
	CA        string   `toml:"ca,omitempty" json:"ca,omitempty"`     // file with the cluster's CA certificate
	Token     secret   `toml:"token,omitempty" json:"-"`
	TokenFile string   `toml:"token_file,omitempty" json:"token_file,omitempty"` // "-" is stdin
}

// located reports that it says whom to ask.
func (p profile) located() bool { return len(p.Servers) > 0 || p.Home != "" }

// over fills what p leaves open from the next profile. Servers and home answer one question, as token and its file do.
func (p profile) over(next profile) profile {
	if !p.located() {
		p.Servers, p.Home = next.Servers, next.Home
	}
	if p.Token == "" && p.TokenFile == "" {
		p.Token, p.TokenFile = next.Token, next.TokenFile
	}
	if p.CA == "" {
		p.CA = next.CA
	}
	return p
}

// server is one address of a manager's API.
type server struct {
	name   string // as people write it
	base   string // what a path is appended to
	local  bool   // a manager's socket: whoever may open it is admin there, without a token
	token  secret // sent to it; empty: none
	client *http.Client
}

// target finds whom to ask: flags over the environment over a context over what this machine has. A context counts when it
// is named, or when nothing else names a server: its token is not for a server that it does not know.
func (a *app) target() ([]*server, error) {
	flags := profile{a.flags.servers, a.flags.home, a.flags.ca, secret(a.flags.token), a.flags.tokenFile}
	switch {
	case len(flags.Servers) > 0 && flags.Home != "":
		return nil, usagef("--home asks the manager of that home by its socket, --server any by its address", "--server and --home are both given")
	case flags.Token != "" && flags.TokenFile != "":
		return nil, usagef("one of them does", "--token and --token-file are both given")
	}
	environment := profile{
		Servers: strings.FieldsFunc(a.environ("ROUNDTABLE_SERVER"), func(r rune) bool { return r == ',' || r == ' ' }), Home: a.environ("ROUNDTABLE_HOME"),
		CA: a.environ("ROUNDTABLE_CA"), Token: secret(a.environ("ROUNDTABLE_TOKEN")), TokenFile: a.environ("ROUNDTABLE_TOKEN_FILE"),
	}
	if len(environment.Servers) > 0 {
		environment.Home = ""
	}
	p := flags.over(environment)
	name := firstOf(a.flags.context, a.environ("ROUNDTABLE_CONTEXT"))
	if name != "" || !p.located() {
		all, err := a.contexts()
		if err != nil {
			return nil, err
		}
		c, err := all.pick(name)
		if err != nil {
			return nil, err
		}
		p = p.over(c)
	}
	if !p.located() {
		p.Servers = []string{"127.0.0.1:9080"}
		if _, err := os.Stat(a.socket); err == nil {
			p.Servers = []string{"unix://" + a.socket}
		}
	}
	return a.open(p)
}

// open prepares the servers of a profile; none is asked yet.
func (a *app) open(p profile) ([]*server, error) {
	if p.Home != "" {
		home, err := filepath.Abs(p.Home)
		if err != nil {
			return nil, err
		}
		p.Servers = []string{"unix://" + filepath.Join(home, "api.sock")}
	}
	token, err := a.token(p)
	if err != nil {
		return nil, err
	}
	trusted, err := trust(p.CA)
	if err != nil {
		return nil, err
	}
	var list []*server
	for _, text := range p.Servers {
		s, err := parseServer(text, p.CA != "")
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o *server) bool { return o.name == s.name }) {
			continue // each once
		}
		if s.local {
			s.client = socketClient(strings.TrimPrefix(s.name, "unix://"))
		} else {
			s.client, s.token = trusted, token
			if token != "" && !private(s.base) {
				return nil, usagef("use https:// and the cluster's CA (--ca FILE)", "the token would go to %s in the clear", s.name)
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// parseServer reads what follows --server. Without a scheme it is https where the cluster's CA is known. What is wrong is
// not shown where it may hold a password.
func parseServer(text string, secure bool) (*server, error) {
	hint := "such as https://m1.example.org:9080, or unix:///var/lib/roundtable/api.sock"
	full := text
	if !strings.Contains(full, "://") {
		full = "http://" + text
		if secure {
			full = "https://" + text
		}
	}
	u, err := url.Parse(full)
	switch {
	case err == nil && u.User != nil:
		return nil, usagef("a token is given with --token-file or ROUNDTABLE_TOKEN", "a server's URL takes no user or password")
	case err == nil && u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		return &server{name: "unix://" + u.Path, base: "http://manager", local: true}, nil
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return nil, usagef(hint, "--server %q is not the URL of an API", text)
	}
	base := strings.TrimSuffix(u.String(), "/")
	return &server{name: base, base: base}, nil
}

// private reports that what is sent there is not read on the way.
func private(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// token is what the profile sends; empty: nothing.
func (a *app) token(p profile) (secret, error) {
	token := p.Token
	if token == "" && p.TokenFile != "" {
		text, err := a.readToken(p.TokenFile)
		if err != nil {
			return "", usagef("the file holds the token, on one line", "%v", err)
		}
		token = text
	}
	for _, r := range string(token) {
		if r <= ' ' || r > '~' {
			return "", usagef("a token has no spaces and begins with rt1_; give it whole and alone", "what is given as the token is none")
		}
	}
	return token, nil
}

func (a *app) readToken(file string) (secret, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("the token: %w", err)
		}
		defer f.Close()
		in = f
	}
	const most = 4096
	text, err := io.ReadAll(io.LimitReader(in, most))
	token := strings.TrimSpace(string(text))
	switch {
	case err != nil:
		return "", fmt.Errorf("the token: %w", err)
	case token == "":
		return "", errors.New("the token: " + file + " is empty")
	}
	return secret(token), nil
}
