package k1

import (
	"errors"
	"fmt"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Errors about signatures.
var (
	ErrSignature = errors.New("not a K1 signature (SIG_K1_...)")
	ErrRecover   = errors.New("no key can have made this signature")
)

// compactOffset is what a compact signature's first byte holds besides the recovery id: 27, and 4 for a compressed key.
const compactOffset = 27 + 4

// Signature is a compact signature: recovery id + 31, R, S. It is comparable; the zero value is none.
type Signature struct{ data [65]byte }

// Sign signs a digest, deterministically: the same key and digest always give the same signature, byte-equal to
// keosd's (recordings). As fc does it (elliptic_secp256k1.cpp), nonces are RFC 6979 beginning with the *second* one, and
// the next is taken until the signature is canonical, as the chain demands.
func (k *PrivateKey) Sign(digest [32]byte) Signature {
	secret := k.key.Key.Bytes()
	defer clear(secret[:])
	for attempt := uint32(1); ; attempt++ {
		nonce := secp256k1.NonceRFC6979(secret[:], digest[:], nil, nil, attempt)
		sig, ok := signWith(&k.key.Key, nonce, digest)
		nonce.Zero()
		if ok && sig.Canonical() {
			return sig
		}
	}
}

// signWith is textbook ECDSA with low S; false for a nonce that cannot be used (R or S zero).
func signWith(key, nonce *secp256k1.ModNScalar, digest [32]byte) (sig Signature, ok bool) {
	var point secp256k1.JacobianPoint
	secp256k1.ScalarBaseMultNonConst(nonce, &point)
	point.ToAffine()
	var r, e secp256k1.ModNScalar
	overflow := r.SetBytes(point.X.Bytes())
	if r.IsZero() {
		return sig, false
	}
	recovery := byte(overflow<<1) | byte(point.Y.IsOddBit())
	e.SetBytes(&digest)
	s := new(secp256k1.ModNScalar).Mul2(key, &r).Add(&e)
	s.Mul(new(secp256k1.ModNScalar).InverseValNonConst(nonce))
	if s.IsZero() {
		return sig, false
	}
	if s.IsOverHalfOrder() {
		s.Negate()
		recovery ^= 1 // -S belongs to the mirrored point
	}
	sig.data[0] = compactOffset + recovery
	r.PutBytesUnchecked(sig.data[1:33])
	s.PutBytesUnchecked(sig.data[33:65])
	return sig, true
}

// Canonical reports whether the chain accepts the signature's form: R and S have no sign bit and no needless leading
// zero byte (fc public_key::is_canonical).
func (s Signature) Canonical() bool {
	fits := func(b []byte) bool { return b[0]&0x80 == 0 && (b[0] != 0 || b[1]&0x80 != 0) }
	return fits(s.data[1:33]) && fits(s.data[33:65])
}

// Recover returns the public key whose private key made the signature over the digest.
func Recover(digest [32]byte, s Signature) (PublicKey, error) {
	if s.data[0] < compactOffset || s.data[0] > compactOffset+3 {
		return PublicKey{}, fmt.Errorf("%w: recovery id out of range", ErrRecover)
	}
	key, _, err := ecdsa.RecoverCompact(s.data[:], digest[:])
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrRecover, err)
	}
	return PublicKey{data: [33]byte(key.SerializeCompressed())}, nil
}

// ParseSignature reads SIG_K1_.... It checks the form, not that any key made it; see Recover.
func ParseSignature(s string) (Signature, error) {
	rest, ok := strings.CutPrefix(s, "SIG_K1_")
	if !ok {
		return Signature{}, fmt.Errorf("%w: unknown prefix", ErrSignature)
	}
	b, err := decodeSummed(rest, 65, modern)
	if err != nil {
		return Signature{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return Signature{data: [65]byte(b)}, nil
}

// String is the form SIG_K1_....
func (s Signature) String() string { return "SIG_K1_" + encodeSummed(s.data[:], modern) }

// MarshalText gives SIG_K1_....
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
