package k1

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// Errors of the parsers. Messages never repeat the text that was given: it may be a private key.
var (
	ErrPrivateKey = errors.New("not a K1 private key (WIF 5... or PVT_K1_...)")
	ErrPublicKey  = errors.New("not a K1 public key (EOS... or PUB_K1_...)")
)

const redacted = "[private key]"

// PrivateKey can sign. Every way to print, format, log or marshal it gives "[private key]"; only Export reveals it.
// It is immutable and safe for concurrent use. The zero value is not usable.
type PrivateKey struct {
	key *secp256k1.PrivateKey // behind a pointer: printing a struct that holds a PrivateKey shows an address at most
	pub PublicKey
}

// PublicKey is a compressed point of the curve. It is comparable; the zero value is no key.
type PublicKey struct{ data [33]byte }

// ParsePrivate reads a private key in WIF (5...) or modern (PVT_K1_...) form.
func ParsePrivate(s string) (*PrivateKey, error) {
	var b []byte
	var err error
	if rest, ok := strings.CutPrefix(s, "PVT_K1_"); ok {
		b, err = decodeSummed(rest, 32, modern)
	} else if b, err = decodeSummed(s, 33, wifSum); err == nil {
		if b[0] != 0x80 {
			err = errors.New("wrong version byte")
		}
		b = b[1:]
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPrivateKey, err)
	}
	return fromBytes(b)
}

func fromBytes(b []byte) (*PrivateKey, error) {
	var d secp256k1.ModNScalar
	if overflow := d.SetByteSlice(b); overflow || d.IsZero() {
		return nil, fmt.Errorf("%w: out of range", ErrPrivateKey)
	}
	key := secp256k1.NewPrivateKey(&d)
	k := &PrivateKey{key: key}
	copy(k.pub.data[:], key.PubKey().SerializeCompressed())
	return k, nil
}

// Generate makes a new private key out of 32 bytes of randomness from r, normally crypto/rand.Reader.
func Generate(r io.Reader) (*PrivateKey, error) {
	var b [32]byte
	for range 8 { // out of range has a chance of 2^-128
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("generate key: %w", err)
		}
		if k, err := fromBytes(b[:]); err == nil {
			return k, nil
		}
	}
	return nil, errors.New("generate key: the source of randomness gives no usable key")
}

// Public is the key that verifies what this one signs.
func (k *PrivateKey) Public() PublicKey { return k.pub }

// Export reveals the key as WIF (5...), for writing key files and a demo's configuration. Never log it.
func (k *PrivateKey) Export() string {
	return encodeSummed(append([]byte{0x80}, k.key.Serialize()...), wifSum)
}

// String does not reveal the key.
func (k PrivateKey) String() string { return redacted }

// Format does not reveal the key, whatever the verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue does not reveal the key.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText does not reveal the key.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON does not reveal the key.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// ParsePublic reads a public key in legacy (EOS...) or modern (PUB_K1_...) form.
func ParsePublic(s string) (PublicKey, error) {
	var b []byte
	var err error
	if rest, ok := strings.CutPrefix(s, "PUB_K1_"); ok {
		b, err = decodeSummed(rest, 33, modern)
	} else if rest, ok := strings.CutPrefix(s, "EOS"); ok {
		b, err = decodeSummed(rest, 33, legacy)
	} else {
		err = errors.New("unknown prefix")
	}
	if err == nil {
		_, err = secp256k1.ParsePubKey(b)
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return PublicKey{data: [33]byte(b)}, nil
}

// IsZero reports whether this is no key at all.
func (p PublicKey) IsZero() bool { return p == PublicKey{} }

// String is the legacy form EOS..., as nodeos sends it to its signature provider (recordings e-signature-provider).
func (p PublicKey) String() string { return "EOS" + encodeSummed(p.data[:], legacy) }

// Modern is the form PUB_K1_....
func (p PublicKey) Modern() string { return "PUB_K1_" + encodeSummed(p.data[:], modern) }

// MarshalText gives the legacy form.
func (p PublicKey) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
