package security

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// joinPrefix begins a join string.
const joinPrefix = "rtj1_"

const (
	maxJoin     = 8 << 10 // characters
	joinSumSize = 4       // bytes that tell a string that was not copied whole
)

// Join is all that a new member needs to find the cluster, to know it for the right one, and to be let in: `roundtable
// member add` prints it as one string. It holds the invite, so it is a secret until it was used.
type Join struct {
	Member string   `json:"m"` // who may join with it
	APIs   []string `json:"u"` // URLs of members' APIs, any of which takes the request
	CAs    []string `json:"f"` // fingerprints of the CAs that the cluster believes (Fingerprint)
	Invite string   `json:"i"` // text of the invite (NewInvite)
}

// ErrJoin is returned for a text that is no join string.
var ErrJoin = errors.New("security: not a join string")

// Text is the join as one string of letters, digits, dashes and underscores.
func (j Join) Text() string {
	b, _ := json.Marshal(j) // strings only: it cannot fail
	sum := sha256.Sum256(b)
	return joinPrefix + base64.RawURLEncoding.EncodeToString(append(b, sum[:joinSumSize]...))
}

// String hides the invite, so that no log has it by accident.
func (j Join) String() string { return fmt.Sprintf("join of %s through %v", j.Member, j.APIs) }

// ParseJoin reads a join string; blanks around it, which a copy may have brought along, do not matter.
func ParseJoin(text string) (Join, error) {
	var j Join
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), joinPrefix)
	if !ok || len(rest) > maxJoin {
		return j, fmt.Errorf("%w: it begins with %s", ErrJoin, joinPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || len(b) < joinSumSize {
		return j, fmt.Errorf("%w: it was not copied whole", ErrJoin)
	}
	b, sum := b[:len(b)-joinSumSize], b[len(b)-joinSumSize:]
	if want := sha256.Sum256(b); string(sum) != string(want[:joinSumSize]) {
		return j, fmt.Errorf("%w: it was not copied whole", ErrJoin)
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return Join{}, fmt.Errorf("%w: %s", ErrJoin, "it is of another version of roundtable")
	}
	return j, j.check()
}

// check refuses what could lead anywhere but to a cluster over TLS.
func (j Join) check() error {
	if j.Member == "" || len(j.APIs) == 0 || len(j.CAs) == 0 {
		return fmt.Errorf("%w: it names no member, no address or no CA", ErrJoin)
	}
	for _, api := range j.APIs {
		if u, err := url.Parse(api); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%w: %q is not the https URL of a member", ErrJoin, api)
		}
	}
	for _, f := range j.CAs {
		if b, err := hex.DecodeString(f); err != nil || len(b) != sha256.Size {
			return fmt.Errorf("%w: it holds no fingerprint of a CA", ErrJoin)
		}
	}
	if _, err := ParseInvite(j.Invite); err != nil {
		return fmt.Errorf("%w: it holds no invite", ErrJoin)
	}
	return nil
}
