package gate

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"roundtable/node/k1"
)

const (
	maxHead = 4 << 10 // nodeos sends some 150 bytes
	maxBody = 1 << 10 // nodeos sends 124 bytes: a digest of 64 digits and a key
)

var (
	errRequest = errors.New("bad request")
	headEndsAt = []byte("\r\n\r\n")
)

// readRequest reads the one request nodeos sends (fact 40, 47; recordings e-signature-provider/signer-8.log):
//
//	POST / HTTP/1.1
//	Host: <socket path>
//	User-Agent: Boost.Beast/347
//	Content-Type: application/json
//	Content-Length: 124
//
//	["<digest, 64 hex digits>","EOS6MRy..."]
//
// net/http cannot serve it: it answers that Host with 400 [L9]. It returns io.EOF if the peer closed without a byte.
func readRequest(r io.Reader) (digest [32]byte, key k1.PublicKey, err error) {
	buf := make([]byte, maxHead+maxBody)
	n, end := 0, -1
	for end < 0 {
		if n >= maxHead {
			return digest, key, fmt.Errorf("%w: its head is longer than %d bytes", errRequest, maxHead)
		}
		m, err := r.Read(buf[n:])
		n += m
		end = bytes.Index(buf[:n], headEndsAt)
		if end < 0 && err != nil {
			if n == 0 && errors.Is(err, io.EOF) {
				return digest, key, io.EOF
			}
			return digest, key, fmt.Errorf("%w: it ends early: %w", errRequest, err)
		}
	}
	if end > maxHead {
		return digest, key, fmt.Errorf("%w: its head is longer than %d bytes", errRequest, maxHead)
	}
	length, err := readHead(string(buf[:end]))
	if err != nil {
		return digest, key, err
	}
	start := end + len(headEndsAt)
	if n > start+length {
		return digest, key, fmt.Errorf("%w: more data than its Content-Length", errRequest)
	}
	if start+length > len(buf) {
		return digest, key, fmt.Errorf("%w: it is too long", errRequest)
	}
	if _, err := io.ReadFull(r, buf[n:start+length]); err != nil {
		return digest, key, fmt.Errorf("%w: it ends early: %w", errRequest, err)
	}
	return readBody(buf[start : start+length])
}

// readHead checks the request line and returns the Content-Length.
func readHead(head string) (length int, err error) {
	lines := strings.Split(head, "\r\n")
	if f := strings.Split(lines[0], " "); len(f) != 3 || f[0] != http.MethodPost || !strings.HasPrefix(f[1], "/") || (f[2] != "HTTP/1.1" && f[2] != "HTTP/1.0") {
		return 0, fmt.Errorf("%w: not a POST over HTTP/1", errRequest)
	}
	length = -1
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return 0, fmt.Errorf("%w: a header without a colon", errRequest)
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil || n > maxBody || length >= 0 {
				return 0, fmt.Errorf("%w: its Content-Length must be given once, at most %d", errRequest, maxBody)
			}
			length = int(n)
		case "transfer-encoding", "expect", "upgrade":
			return 0, fmt.Errorf("%w: header %s is not served here", errRequest, strings.ToLower(name))
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("%w: no Content-Length", errRequest)
	}
	return length, nil
}

func readBody(body []byte) (digest [32]byte, key k1.PublicKey, err error) {
	var parts []string
	if err := json.Unmarshal(body, &parts); err != nil || len(parts) != 2 {
		return digest, key, fmt.Errorf("%w: its body is not [digest, key]", errRequest)
	}
	if len(parts[0]) != hex.EncodedLen(len(digest)) {
		return digest, key, fmt.Errorf("%w: its digest has not 64 hex digits", errRequest)
	}
	if _, err := hex.Decode(digest[:], []byte(parts[0])); err != nil {
		return digest, key, fmt.Errorf("%w: its digest has not 64 hex digits", errRequest)
	}
	if key, err = k1.ParsePublic(parts[1]); err != nil {
		return digest, key, fmt.Errorf("%w: %w", errRequest, err)
	}
	return digest, key, nil
}

// response is a whole HTTP answer. `Connection: close` each time: nodeos then connects anew per block and never loses a
// slot to a connection that died in between (fact 45).
func response(status int, body []byte) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nServer: roundtable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
}
