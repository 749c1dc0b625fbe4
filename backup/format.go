package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// formatVersion is the newest one that this program reads, and the one that it writes.
const formatVersion = 1

// format is the object that makes a store a repository: a few lines of text, the last with the sum of those before.
type format struct {
	version int
	id      string // 32 hex digits
	check   []byte // where it is encrypted: the id, as an age file that opens for those who can read the repository
}

const (
	formatTitle = "roundtable backup repository\n"
	maxFormat   = 1 << 20
)

func (f format) encode() []byte {
	var b bytes.Buffer
	b.WriteString(formatTitle)
	fmt.Fprintf(&b, "version %d\nid %s\n", f.version, f.id)
	if f.check != nil {
		fmt.Fprintf(&b, "age %s\n", base64.StdEncoding.EncodeToString(f.check))
	}
	fmt.Fprintf(&b, "blake2b-256 %s\n", sumOf(b.Bytes()))
	return b.Bytes()
}

// parseFormat reads what encode wrote, and nothing else.
func parseFormat(object []byte) (format, error) {
	damaged := errors.New("the object format is damaged")
	rest, ok := bytes.CutPrefix(object, []byte(formatTitle))
	if !ok || len(object) > maxFormat {
		return format{}, damaged
	}
	lines := strings.Split(string(rest), "\n")
	word := func(name string) (string, bool) {
		if len(lines) == 0 {
			return "", false
		}
		v, ok := strings.CutPrefix(lines[0], name+" ")
		if ok {
			lines = lines[1:]
		}
		return v, ok
	}
	v, ok := word("version")
	if !ok {
		return format{}, damaged
	}
	f := format{}
	var err error
	if f.version, err = strconv.Atoi(v); err != nil || f.version < 1 {
		return format{}, damaged
	}
	if f.version > formatVersion && bytes.HasSuffix(object, []byte("\nblake2b-256 "+sumOf(object[:max(0, len(object)-len("blake2b-256 \n")-64)]).String()+"\n")) {
		return format{}, fmt.Errorf("%w: its format is %d, known is %d (hint: use a newer roundtable)", ErrNewer, f.version, formatVersion)
	}
	if f.id, ok = word("id"); !ok || len(f.id) != 32 {
		return format{}, damaged
	}
	if _, err := hex.DecodeString(f.id); err != nil {
		return format{}, damaged
	}
	if v, ok := word("age"); ok {
		if f.check, err = base64.StdEncoding.DecodeString(v); err != nil || len(f.check) == 0 {
			return format{}, damaged
		}
	}
	if f.version != formatVersion || !bytes.Equal(f.encode(), object) {
		return format{}, damaged
	}
	return f, nil
}

// newFormat is for a repository that is about to be made.
func newFormat(k keys) (format, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	f := format{version: formatVersion, id: hex.EncodeToString(id[:])}
	if k.encrypted() {
		var b bytes.Buffer
		check, err := k.seal([]byte(f.id), &b)
		if err != nil {
			return format{}, err
		}
		f.check = check
	}
	return f, nil
}

// fits says whether the keys are those of the repository.
func (f format) fits(k keys) error {
	switch {
	case f.check == nil && !k.encrypted():
		return nil
	case f.check == nil:
		return fmt.Errorf("%w: the repository is not encrypted, but a key is configured (hint: an encrypted one is made in an empty store; this one is used without a key)", ErrKey)
	case !k.encrypted():
		return fmt.Errorf("%w: the repository is encrypted, and no key is configured", ErrKey)
	case len(k.identities) == 0:
		return fmt.Errorf("%w: the repository is encrypted, and there is no key to read with", ErrKey)
	}
	id, err := k.open(f.check)
	if err != nil || string(id) != f.id {
		return fmt.Errorf("%w: the configured key does not open it (hint: it was made with another one): %w", ErrKey, errors.Join(err, errors.New("the check in the object format does not open")))
	}
	if len(k.recipients) == 0 {
		return nil // good for reading
	}
	var b bytes.Buffer
	sealed, err := k.seal([]byte(f.id), &b)
	if err != nil {
		return err
	}
	if _, err := k.open(sealed); err != nil {
		return fmt.Errorf("%w: what the configured recipients would get, the configured key cannot read: %w", ErrKey, err)
	}
	return nil
}

// readFormat finds it: ErrNotFound.
func readFormat(ctx context.Context, s Store) (format, error) {
	object, err := s.Get(ctx, formatName)
	if err != nil {
		return format{}, err
	}
	return parseFormat(object)
}
