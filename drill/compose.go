package drill

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Compose is a cluster of real containers, as docker-compose.yml describes it: the managers m1, m2, m3 on a network of their
// own, a one-shot service "init" that lays out their homes and the tokens.
type Compose struct {
	File    string // docker-compose.yml
	Project string // of compose: its containers, networks and volumes have it in their names
	Image   string // of the managers; it is never pulled
	Dir     string // for what is copied out of the containers

	tool       []string          // the command of compose: docker compose, or docker-compose
	containers map[string]string // ids by service
}

// memberHome is where a member's home is in its container.
const memberHome = "/var/lib/roundtable"

// services are the members in docker-compose.yml.
var services = []string{"m1", "m2", "m3"}

var errNoEngine = errors.New("drill: no Docker engine answers")

// open looks for the engine, the compose tool and the image.
func (c *Compose) open(ctx context.Context) error {
	if _, err := c.docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("%w: %w", errNoEngine, err)
	}
	if _, err := c.docker(ctx, "image", "inspect", c.Image); err != nil {
		return fmt.Errorf("drill: there is no image %s (make it with: make image): %w", c.Image, err)
	}
	c.tool = []string{"docker", "compose"}
	if _, err := c.docker(ctx, "compose", "version"); err != nil {
		c.tool = []string{"docker-compose"}
		if _, err := run1(ctx, nil, "docker-compose", "version"); err != nil {
			return fmt.Errorf("drill: neither docker compose nor docker-compose is installed: %w", err)
		}
	}
	c.containers = map[string]string{}
	return nil
}

// run1 runs a program and returns what it wrote to stdout; its error tells what it wrote to stderr.
func run1(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a ^C is the drill's, which then cleans up
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("drill: %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (c *Compose) docker(ctx context.Context, args ...string) (string, error) {
	return run1(ctx, nil, "docker", args...)
}

// command runs a command of compose on the project. The API's ports are any that are free.
func (c *Compose) command(ctx context.Context, args ...string) (string, error) {
	env := []string{"ROUNDTABLE_IMAGE=" + c.Image, "ROUNDTABLE_PORT_1=", "ROUNDTABLE_PORT_2=", "ROUNDTABLE_PORT_3="}
	all := append(append(append([]string{}, c.tool[1:]...), "-f", c.File, "-p", c.Project), args...)
	return run1(ctx, env, c.tool[0], all...)
}

// up starts everything. Where that failed, what was made of it is known all the same, for its logs.
func (c *Compose) up(ctx context.Context) error {
	_, all := c.command(ctx, "up", "-d")
	for _, service := range append([]string{"init"}, services...) {
		id, err := c.command(ctx, "ps", "-a", "-q", service)
		if err == nil && id == "" {
			err = fmt.Errorf("drill: compose made no container for %s", service)
		}
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		c.containers[service] = id
	}
	return all
}

// down removes everything, volumes as well.
func (c *Compose) down(ctx context.Context) error {
	_, err := c.command(ctx, "down", "-v", "--remove-orphans", "-t", "1")
	return err
}

// inspect looks at a service's container.
func (c *Compose) inspect(ctx context.Context, service string) (v struct {
	RestartCount int
	State        struct {
		Status string
		Health struct{ Status string }
	}
	NetworkSettings struct {
		Ports    map[string][]struct{ HostPort string }
		Networks map[string]struct{ IPAddress netip.Addr }
	}
}, err error) {
	text, err := c.docker(ctx, "inspect", "--format", "{{json .}}", c.containers[service])
	if err == nil {
		err = json.Unmarshal([]byte(text), &v)
	}
	return v, err
}

// url is where a member's API is published on this machine; the port changes with each start.
func (c *Compose) url(ctx context.Context, service string) (string, error) {
	v, err := c.inspect(ctx, service)
	if err != nil {
		return "", err
	}
	for _, p := range v.NetworkSettings.Ports["9080/tcp"] {
		return "https://" + join("127.0.0.1", portNumber(p.HostPort)), nil
	}
	return "", fmt.Errorf("drill: the API of %s is not published: its container is %s", service, v.State.Status)
}

// healthy is nil when the container's own health check says so.
func (c *Compose) healthy(ctx context.Context, service string) error {
	v, err := c.inspect(ctx, service)
	if err == nil && v.State.Health.Status != "healthy" {
		err = fmt.Errorf("drill: the container of %s is %s, %s", service, v.State.Status, cmp.Or(v.State.Health.Status, "without a health check"))
	}
	return err
}

// renew removes the containers of all members, in order, and makes new ones on the same volumes, in this order.
func (c *Compose) renew(ctx context.Context, order []string) error {
	if _, err := c.command(ctx, append([]string{"rm", "--stop", "--force"}, order...)...); err != nil {
		return err
	}
	for _, service := range order {
		if _, err := c.command(ctx, "up", "-d", "--no-deps", service); err != nil {
			return err
		}
		id, err := c.command(ctx, "ps", "-a", "-q", service)
		if err != nil {
			return err
		}
		c.containers[service] = id
	}
	return nil
}

// address is where a member is on its network.
func (c *Compose) address(ctx context.Context, service string) (netip.Addr, error) {
	v, err := c.inspect(ctx, service)
	for _, n := range v.NetworkSettings.Networks {
		return n.IPAddress, err
	}
	return netip.Addr{}, errors.Join(err, fmt.Errorf("drill: the container of %s is in no network", service))
}

// network is the one network that the members share.
func (c *Compose) network(ctx context.Context, service string) (string, error) {
	v, err := c.inspect(ctx, service)
	if err != nil {
		return "", err
	}
	for name := range v.NetworkSettings.Networks {
		return name, nil
	}
	return "", fmt.Errorf("drill: the container of %s is in no network", service)
}

// cut takes a member off the network, so that it is a running machine without a link; the returned function brings it back
// under its name.
func (c *Compose) cut(ctx context.Context, service string) (heal func(context.Context) error, err error) {
	name, err := c.network(ctx, service)
	if err == nil {
		_, err = c.docker(ctx, "network", "disconnect", name, c.containers[service])
	}
	return func(ctx context.Context) error {
		_, err := c.docker(ctx, "network", "connect", "--alias", service, name, c.containers[service])
		return err
	}, err
}

// chain reads the chain of a member's node, which nobody outside of the container can ask.
func (c *Compose) chain(ctx context.Context, service string) ([]ChainBlock, error) {
	text, err := c.docker(ctx, "exec", c.containers[service], "/usr/bin/roundtable", "drill", "chain", "--node", "http://127.0.0.1:8888")
	if err != nil {
		return nil, err
	}
	var chain []ChainBlock
	if err := json.Unmarshal([]byte(text), &chain); err != nil {
		return nil, fmt.Errorf("drill: the chain of %s: %w", service, err)
	}
	return chain, nil
}

// collect copies what the checker reads out of a member's container to a folder.
func (c *Compose) collect(ctx context.Context, service, home string) error {
	for _, name := range []string{"raft", ledgerFile} {
		if _, err := c.docker(ctx, "cp", c.containers[service]+":"+memberHome+"/"+name, filepath.Join(home, name)); err != nil {
			return err
		}
	}
	return nil
}

// logs writes what every container said into the folder.
func (c *Compose) logs(ctx context.Context) error {
	var all error
	for service, id := range c.containers {
		out, err := exec.CommandContext(ctx, "docker", "logs", "--timestamps", id).CombinedOutput()
		if err == nil {
			err = os.WriteFile(filepath.Join(c.Dir, service+".log"), out, 0o600)
		}
		all = errors.Join(all, err)
	}
	return all
}

// client asks the members as an operator does: with a token, over TLS by the cluster's CA.
func (c *Compose) client(ctx context.Context) (*http.Client, error) {
	ca := filepath.Join(c.Dir, "ca.pem")
	if _, err := c.docker(ctx, "cp", c.containers["m1"]+":"+memberHome+"/tls/ca.pem", ca); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("drill: ca.pem of m1 holds no certificate")
	}
	file := filepath.Join(c.Dir, "operate.token")
	if _, err := c.docker(ctx, "cp", c.containers["init"]+":/homes/tokens/operate.token", file); err != nil {
		return nil, err
	}
	token, err := os.ReadFile(file)
	if err = errors.Join(err, os.Remove(file)); err != nil { // the folder may be kept
		return nil, fmt.Errorf("drill: %w", err)
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: bearer{strings.TrimSpace(string(token)), &http.Transport{TLSClientConfig: config}}}, nil
}

// bearer adds a token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}
