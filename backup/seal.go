package backup

import (
	"bytes"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// keys encrypt and decrypt objects; without any they are stored as they are.
type keys struct {
	identities []age.Identity
	recipients []age.Recipient
}

func (k keys) encrypted() bool { return len(k.identities) > 0 || len(k.recipients) > 0 }

// complete adds the recipients that follow from the identities, where none were given.
func (k keys) complete() keys {
	if len(k.recipients) > 0 {
		return k
	}
	for _, i := range k.identities {
		switch i := i.(type) {
		case *age.X25519Identity:
			k.recipients = append(k.recipients, i.Recipient())
		case *age.HybridIdentity:
			k.recipients = append(k.recipients, i.Recipient())
		}
	}
	return k
}

// seal gives the object to store, in buffer where it is another one than the body.
func (k keys) seal(body []byte, buffer *bytes.Buffer) ([]byte, error) {
	if !k.encrypted() {
		return body, nil
	}
	if len(k.recipients) == 0 {
		return nil, fmt.Errorf("%w: nobody is configured for whom to encrypt", ErrKey)
	}
	buffer.Reset()
	buffer.Grow(len(body) + len(body)/1024 + 4096)
	w, err := age.Encrypt(buffer, k.recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return buffer.Bytes(), nil
}

// open is the opposite of seal. The object may be gone afterwards.
func (k keys) open(object []byte) ([]byte, error) {
	if !k.encrypted() {
		return object, nil
	}
	if len(k.identities) == 0 {
		return nil, fmt.Errorf("%w: there is none to decrypt with", ErrKey)
	}
	r, err := age.Decrypt(bytes.NewReader(object), k.identities...)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	plain := bytes.NewBuffer(make([]byte, 0, len(object)+bytes.MinRead))
	if _, err := plain.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return plain.Bytes(), nil
}

// newEncoder is for EncodeAll, one call at a time.
func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
}

// newDecoder is for DecodeAll, one call at a time; it gives no more than limit bytes.
func newDecoder(limit uint64) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(limit), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}

// inflate gives what was compressed, which must have exactly n bytes; buffer is used if it is large enough.
func inflate(d *zstd.Decoder, stored []byte, n int64, buffer []byte) ([]byte, error) {
	if int64(len(stored)) == n {
		return stored, nil
	}
	plain, err := d.DecodeAll(stored, buffer[:0])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if int64(len(plain)) != n {
		return nil, fmt.Errorf("decompress: %w", io.ErrUnexpectedEOF)
	}
	return plain, nil
}
