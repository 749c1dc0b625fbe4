package k1

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/big"

	"golang.org/x/crypto/ripemd160" //nolint:staticcheck // the chain's key checksums are RIPEMD-160
)

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// maxText bounds what a parser looks at; the longest form, a signature, has about 101 characters.
const maxText = 128

var (
	errBase58   = errors.New("not base58")
	errChecksum = errors.New("wrong checksum")
	errLength   = errors.New("wrong length")

	radix  = big.NewInt(58)
	digits = func() (d [256]int8) {
		for i := range d {
			d[i] = -1
		}
		for i := range len(alphabet) {
			d[alphabet[i]] = int8(i)
		}
		return d
	}()
)

func encode58(b []byte) string {
	n, rem := new(big.Int).SetBytes(b), new(big.Int)
	var out []byte
	for n.Sign() > 0 {
		n.QuoRem(n, radix, rem)
		out = append(out, alphabet[rem.Int64()])
	}
	for i := 0; i < len(b) && b[i] == 0; i++ {
		out = append(out, alphabet[0])
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return string(out)
}

func decode58(s string) ([]byte, error) {
	if s == "" || len(s) > maxText {
		return nil, errLength
	}
	n, digit, zeros := new(big.Int), new(big.Int), 0
	for zeros < len(s) && s[zeros] == alphabet[0] {
		zeros++
	}
	for i := zeros; i < len(s); i++ {
		d := digits[s[i]]
		if d < 0 {
			return nil, errBase58 // the text itself is never repeated: it may be a private key
		}
		n.Mul(n, radix).Add(n, digit.SetInt64(int64(d)))
	}
	return append(make([]byte, zeros), n.Bytes()...), nil
}

// ripemdSum is the checksum of all forms but WIF: the first 4 bytes of RIPEMD-160 over the data and a suffix naming its
// kind ("" for legacy public keys).
func ripemdSum(data []byte, suffix string) []byte {
	h := ripemd160.New()
	h.Write(data)
	h.Write([]byte(suffix))
	return h.Sum(nil)[:4]
}

// wifSum is WIF's checksum: the first 4 bytes of a double SHA-256.
func wifSum(data []byte) []byte {
	first := sha256.Sum256(data)
	second := sha256.Sum256(first[:])
	return second[:4]
}

// decodeSummed decodes base58 text of exactly n data bytes followed by their checksum.
func decodeSummed(s string, n int, sum func([]byte) []byte) ([]byte, error) {
	b, err := decode58(s)
	if err != nil {
		return nil, err
	}
	if len(b) != n+4 {
		return nil, errLength
	}
	if !bytes.Equal(sum(b[:n]), b[n:]) {
		return nil, errChecksum
	}
	return b[:n], nil
}

func modern(data []byte) []byte { return ripemdSum(data, "K1") }
func legacy(data []byte) []byte { return ripemdSum(data, "") }

func encodeSummed(data []byte, sum func([]byte) []byte) string {
	return encode58(append(bytes.Clone(data), sum(data)...))
}
