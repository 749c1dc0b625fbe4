package sim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/node/k1"
)

// provider signs block digests for one key, as a signature-provider of nodeos does.
type provider interface {
	sign(digest Hash) (string, error)
}

type keyProvider struct{ key *k1.PrivateKey }

func (p keyProvider) sign(digest Hash) (string, error) { return p.key.Sign(digest).String(), nil }

// parseProvider reads PUB=KEY:PRIVATE or PUB=KEOSD:URL. The errors are nodeos'.
func parseProvider(spec string, timeout time.Duration) (k1.PublicKey, provider, *chainError) {
	at := func(line int) site {
		return site{"signature_provider_plugin.cpp", line, "parse_signature_provider_spec"}
	}
	pubText, rest, ok := strings.Cut(spec, "=")
	if !ok {
		return k1.PublicKey{}, nil, configError(`Missing "=" in the key spec pair`, "", at(109))
	}
	kind, data, ok := strings.Cut(rest, ":")
	if !ok {
		return k1.PublicKey{}, nil, configError(`Missing ":" in the key spec pair`, "", at(113))
	}
	if strings.HasPrefix(pubText, "PUB_BLS") && kind == "KEOSD" {
		data := strings.TrimPrefix(pubText, "PUB_BLS_")
		return k1.PublicKey{}, nil, assertError("false: No matching suite type for BLS_"+data, fmt.Sprintf(`{"prefix":"BLS","data":%q}`, data),
			site{"common.hpp", 61, "apply"})
	}
	pub, err := k1.ParsePublic(pubText)
	if err != nil {
		return pub, nil, assertError("error parsing public_key", fmt.Sprintf(`{"str":%q}`, pubText), at(120))
	}
	switch kind {
	case "KEY":
		key, err := k1.ParsePrivate(data)
		if err != nil {
			return pub, nil, assertError("error parsing private_key", "", at(47))
		}
		if key.Public() != pub {
			return pub, nil, configError("Private key does not match given public key for "+pub.String(),
				"", site{"signature_provider_plugin.cpp", 51, "signature_provider_for_specification"})
		}
		return pub, keyProvider{key}, nil
	case "KEOSD":
		proto, after, ok := strings.Cut(data, "://")
		if !ok {
			return pub, nil, assertError("url has no protocol", "", at(66))
		}
		return pub, &keosdProvider{pub: pub, url: data, proto: proto, after: after, timeout: timeout}, nil
	}
	return pub, nil, configError(fmt.Sprintf("Unsupported key provider type %q", kind), "", at(57))
}

// keosdProvider asks a wallet for each signature: fc's http_client (post_sync), to the letter of the recordings
// e-signature-provider. It is used by the main thread only and blocks it.
type keosdProvider struct {
	pub     k1.PublicKey
	url     string
	proto   string
	after   string        // what stands behind ://
	timeout time.Duration // negative: wait for ever

	socket string // unix only: found at the first use
	conn   net.Conn
	in     *bufio.Reader
}

func clientSite(line int, fn string) site { return site{"http_client.cpp", line, fn} }

func (p *keosdProvider) sign(digest Hash) (string, error) {
	network, path := "tcp", "/"
	var addr, host string
	switch p.proto {
	case "http":
		authority, rest, found := strings.Cut(p.after, "/")
		if found {
			path = "/" + rest
		}
		path, _, _ = strings.Cut(path, "?")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			authority = authority[i+1:]
		}
		if addr = authority; !strings.Contains(authority, ":") {
			addr += ":80"
		}
		host = strings.TrimSuffix(authority, ":80")
	case "unix":
		p.findSocket()
		network, addr, host = "unix", p.socket, p.socket
	default:
		return "", newError(0, "exception", "unspecified", "Unknown protocol "+p.proto, fmt.Sprintf(`{"proto":%q}`, p.proto),
			clientSite(181, "create_connection"))
	}
	status, body, err := p.post(network, addr, host, path, fmt.Sprintf(`["%s","%s"]`, digest, p.pub))
	if err != nil {
		return "", err
	}
	return p.read(status, body)
}

// findSocket is get_unix_url: it strips file names off the path until a socket is left. std::filesystem::path::
// remove_filename leaves the final slash, so where the path itself is no socket (a URL path stands behind it, or the signer is not
// there yet) the loop never ends: 100 % CPU for ever, SIGTERM ignored (fact 47). Found once, the socket is remembered.
func (p *keosdProvider) findSocket() {
	for p.socket == "" {
		if st, err := os.Stat(p.after); err == nil && st.Mode()&os.ModeSocket != 0 {
			p.socket = p.after
			return
		}
		for {
			_ = spin(1 << 20)
		}
	}
}

func spin(n int) (sum int) {
	for i := range n {
		sum += i
	}
	return sum
}

func (p *keosdProvider) drop() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

func (p *keosdProvider) post(network, addr, host, path, payload string) (int, string, error) {
	var deadline time.Time
	if p.timeout >= 0 {
		deadline = time.Now().Add(p.timeout)
	}
	failed := func(what string, err error, at site) error {
		p.drop()
		text := asioError(err)
		return assertError("!ec: Failed to "+what+": "+text, fmt.Sprintf(`{"message":%q}`, text), at)
	}
	if p.conn == nil {
		at := clientSite(166, "create_raw_connection")
		if network == "unix" {
			at = clientSite(149, "create_unix_connection")
		}
		conn, err := (&net.Dialer{Deadline: deadline}).Dial(network, addr)
		if err != nil {
			return 0, "", failed("connect", err, at)
		}
		p.conn, p.in = conn, bufio.NewReader(conn)
	}
	if err := p.conn.SetDeadline(deadline); err != nil {
		return 0, "", failed("send request", err, clientSite(286, "post_sync"))
	}
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Boost.Beast/347\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, host, len(payload), payload)
	if _, err := io.WriteString(p.conn, request); err != nil {
		return 0, "", failed("send request", err, clientSite(286, "post_sync"))
	}
	at := clientSite(294, "post_sync")
	if _, err := p.in.Peek(1); err != nil {
		return 0, "", failed("read response", err, at)
	}
	resp, err := http.ReadResponse(p.in, &http.Request{Method: http.MethodPost})
	if err != nil {
		return 0, "", failed("read response", err, at)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	if err != nil {
		return 0, "", failed("read response", err, at)
	}
	if resp.Close {
		p.drop()
	}
	return resp.StatusCode, string(body), nil
}

// asioError is what boost calls a network error.
func asioError(err error) string {
	var no unix.Errno
	switch {
	case errors.Is(err, io.EOF):
		return "end of stream"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "partial message"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	case errors.As(err, &no):
		switch no {
		case unix.ECONNREFUSED:
			return "Connection refused"
		case unix.ENOENT:
			return "No such file or directory"
		case unix.ECONNRESET:
			return "Connection reset by peer"
		case unix.EPIPE:
			return "Broken pipe"
		case unix.EADDRINUSE:
			return "Address already in use"
		}
		return no.Error()
	}
	return err.Error()
}

// read turns the answer into a signature. Any status but 500 and 404 is as good as 200 (fact 41).
func (p *keosdProvider) read(status int, body string) (string, error) {
	switch status {
	case 500:
		var answer struct {
			Error *struct {
				Code    json.Number `json:"code"`
				Name    *string     `json:"name"`
				What    *string     `json:"what"`
				Details []struct {
					Message string `json:"message"`
				} `json:"details"`
			} `json:"error"`
		}
		at := clientSite(315, "post_sync")
		if json.Unmarshal([]byte(body), &answer) == nil && answer.Error != nil && answer.Error.Name != nil && answer.Error.What != nil {
			if code, err := answer.Error.Code.Int64(); err == nil {
				e := &chainError{code: code, name: *answer.Error.Name, what: *answer.Error.What}
				for _, d := range answer.Error.Details {
					e.entries = append(e.entries, errorEntry{d.Message, "", at})
				}
				return "", e
			}
		}
		return "", newError(0, "exception", "unspecified", "Request failed with 500 response, but response was not parseable", "",
			clientSite(325, "post_sync"))
	case 404:
		return "", newError(0, "exception", "unspecified", "URL not found: "+p.url, fmt.Sprintf(`{"url":%q}`, p.url), clientSite(328, "post_sync"))
	}
	text, kind := looseString(body)
	if kind != "" {
		return "", newError(7, "bad_cast_exception", "Bad Cast", "Invalid cast from "+kind+" to string",
			fmt.Sprintf(`{"type":%q}`, kind), site{"variant.cpp", 498, "as_string"})
	}
	data := `{"str":` + quoteJSON(text) + `}`
	parseSite := site{"signature.cpp", 24, "sig_parse_base58"}
	if !strings.Contains(text, "_") {
		return "", assertError("pivot != std::string::npos: No delimiter in string, cannot determine type: "+text, data, parseSite).
			with("error parsing signature", data, site{"signature.cpp", 32, "sig_parse_base58"})
	}
	if _, err := k1.ParseSignature(text); err != nil {
		if !strings.HasPrefix(text, "SIG_K1_") {
			return "", assertError("prefix mismatch: Signature Key has invalid prefix: "+text, data, parseSite).
				with("error parsing signature", data, site{"signature.cpp", 32, "sig_parse_base58"})
		}
		return "", newError(8, "out_of_range_exception", "Out of Range", "read datastream of length 6 over by -5",
			`{"method":"read","len":6,"over":-5}`, site{"datastream.cpp", 6, "throw_datastream_range_error"}).
			with("fc::array<uint8_t,65>", `{"type":"uint8_t","length":65}`, site{"raw.hpp", 176, "unpack"}).
			with("Error unpacking field data", `{"field":"data"}`, site{"raw.hpp", 358, "operator()"}).
			with("error parsing signature", data, site{"signature.cpp", 32, "sig_parse_base58"})
	}
	return text, nil
}

// looseString is fc's forgiving JSON as a string; kind names what cannot be cast.
func looseString(body string) (text, kind string) {
	body = strings.TrimSpace(body)
	switch {
	case strings.HasPrefix(body, "{"):
		return "", "object_type"
	case strings.HasPrefix(body, "["):
		return "", "array_type"
	case strings.HasPrefix(body, `"`):
		if json.Unmarshal([]byte(body), &text) != nil {
			return "", ""
		}
		return text, ""
	case body == "null":
		return "", ""
	}
	text, _, _ = strings.Cut(body, " ")
	return text, ""
}

// signers are this node's signature providers by key.
type signers map[k1.PublicKey]provider

// newSigners reads all specs; of two for one key the last wins (fact 49).
func newSigners(specs []string, timeoutMillis int64) (signers, string, *chainError) {
	s := signers{}
	for _, spec := range specs {
		pub, p, err := parseProvider(spec, time.Duration(timeoutMillis)*time.Millisecond)
		if err != nil {
			return nil, spec, err
		}
		s[pub] = p
	}
	return s, "", nil
}

// sign asks every relevant provider in turn and checks who signed.
func (s signers) sign(auth authority, digest Hash) ([]string, error) {
	var sigs []string
	var keys []k1.PublicKey
	for _, key := range auth.keys {
		p, ok := s[key]
		if !ok {
			continue
		}
		text, err := p.sign(digest)
		if err != nil {
			return nil, err
		}
		sigs = append(sigs, text)
		signer, err := recoverKey(digest, text)
		if err != nil {
			return nil, assertError("unable to reconstruct public key from signature", "", site{"elliptic_secp256k1.cpp", 160, "public_key"})
		}
		keys = append(keys, signer)
	}
	for _, k := range keys {
		if !slices.Contains(auth.keys, k) {
			list := make([]string, len(keys))
			for i := range keys {
				list[i] = strconv.Quote(keys[i].String())
			}
			all := "[" + strings.Join(list, ",") + "]"
			return nil, newError(3030008, "wrong_signing_key", "Block is not signed with expected key",
				fmt.Sprintf("block signed by unexpected key: %s, expected: %s. 0 != %d", all, auth.json(), len(keys)),
				fmt.Sprintf(`{"signing_keys":%s,"authority":%s,"c":0,"s":%d}`, all, auth.json(), len(keys)),
				site{"block_header_state_legacy.cpp", 444, "verify_signee"})
		}
	}
	return sigs, nil
}

// relevant reports whether any provider can sign for the authority.
func (s signers) relevant(auth authority) bool {
	return slices.ContainsFunc(auth.keys, func(k k1.PublicKey) bool { _, ok := s[k]; return ok })
}
