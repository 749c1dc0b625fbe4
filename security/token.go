package security

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"strings"
)

// The texts that somebody holds as a proof: a prefix that tells what it is (secret scanners look for one), an id that is
// no secret, and 160 random bits. The cluster knows the id and the hash only.
const (
	tokenPrefix  = "rt1_"
	invitePrefix = "rti1_"

	idBytes     = 5
	secretBytes = 20
)

// letters is base32 in lower case: no character in it needs quoting anywhere, and a double click selects all of it.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrToken is returned for a text that is no token, or no invite.
var ErrToken = errors.New("security: not a token")

// NewToken draws a bearer token, rt1_ID_SECRET. The text is shown once; id and hash are kept.
func NewToken() (text, id, hash string) { return newText(tokenPrefix) }

// NewInvite draws an invite for one member, rti1_ID_SECRET. It travels in a join string.
func NewInvite() (text, id, hash string) { return newText(invitePrefix) }

// ParseToken finds the id in a token's text; whether the token is a good one only its hash tells.
func ParseToken(text string) (id string, err error) { return parseText(tokenPrefix, text) }

// ParseInvite finds the id in an invite's text.
func ParseInvite(text string) (id string, err error) { return parseText(invitePrefix, text) }

// HashToken is what is kept of a token or an invite: the SHA-256 of its whole text in lower-case hex. The text has 160
// random bits, so nothing slower is needed.
func HashToken(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func newText(prefix string) (text, id, hash string) {
	random := make([]byte, idBytes+secretBytes)
	_, _ = rand.Read(random) // never fails: crypto/rand aborts the program instead
	id = letters.EncodeToString(random[:idBytes])
	text = prefix + id + "_" + letters.EncodeToString(random[idBytes:])
	return text, id, HashToken(text)
}

func parseText(prefix, text string) (id string, err error) {
	rest, ok := strings.CutPrefix(text, prefix)
	id, secret, two := strings.Cut(rest, "_")
	if !ok || !two || len(id) != letters.EncodedLen(idBytes) || len(secret) != letters.EncodedLen(secretBytes) {
		return "", ErrToken
	}
	if _, err := letters.DecodeString(id + secret); err != nil {
		return "", ErrToken
	}
	return id, nil
}
