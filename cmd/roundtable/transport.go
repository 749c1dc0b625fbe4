package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
)

const caHint = "name the cluster's CA certificate with --ca FILE, ROUNDTABLE_CA or in a context; each manager's home has it as tls/ca.pem"

// trust makes the client for servers behind a port. Their certificates must be good for the host that was asked for, so that a
// member that was removed cannot pass for another one; of the CA in the file, or without one, as on the web.
func trust(ca string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, usagef(caHint, "%v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef(caHint, "%s holds no certificate", ca)
		}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: stay,
	}, nil
}

// socketClient asks the manager that listens on a socket.
func socketClient(path string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, CheckRedirect: stay}
}

// stay follows no redirection: no manager sends one, and a token goes nowhere that was not named.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// unreached is the hint for servers that gave no answer.
func unreached(errs []error) string {
	has := func(match func(error) bool) bool { return slices.ContainsFunc(errs, match) }
	var alien x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case has(func(err error) bool { return errors.As(err, &alien) }):
		return "its certificate is not of a CA that is known here: " + caHint
	case has(func(err error) bool { return errors.As(err, &name) }):
		return "name it by one of those hosts; others that are to be good stand in its config.toml, tls.hosts (see: roundtable certificate show)"
	case has(func(err error) bool { return errors.Is(err, http.ErrSchemeMismatch) }):
		return "it does not speak TLS there: is it http:// (a sandbox), or another program's port?"
	case has(func(err error) bool { return errors.Is(err, fs.ErrPermission) }):
		return "the socket is for the user that runs the manager: run this as that user, or name a --server and give a token"
	case has(func(err error) bool { return errors.Is(err, syscall.ENOENT) }):
		return "no manager runs with that home; name any member with --server URL, or a context"
	}
	return "is one running? name any member with --server URL, ROUNDTABLE_SERVER or a context (roundtable context add)"
}
