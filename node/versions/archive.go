package versions

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds the memory that a zstd archive makes its reader take, in bytes: what zstd itself allows unasked.
const maxWindow = 128 << 20

// entry is one thing in an archive.
type entry struct {
	name string
	mode fs.FileMode // type and permissions
	link string      // where a symbolic link leads, or which earlier file a hard link is
	hard bool
	body io.Reader
}

const archiveHint = "a version is a .zip, .tar, .tar.gz, .tar.zst, .tar.xz, .deb or a bare binary"

// walk shows all that is in an asset, in its order. What kind of asset it is, its first bytes say: a name may lie, and a URL may
// have none. A bare binary is shown as a file of the name bare.
func walk(f *os.File, size int64, bare string, visit func(entry) error) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return damaged(err)
	}
	r := bufio.NewReaderSize(f, 64<<10)
	head, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return damaged(err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return walkZip(f, size, visit)
	case bytes.HasPrefix(head, []byte(arMagic)):
		return walkDeb(r, visit)
	case bytes.HasPrefix(head, []byte("\x7fELF")), bytes.HasPrefix(head, []byte("#!")):
		return visit(entry{name: bare, mode: 0o755, body: r})
	}
	return walkTar(r, visit)
}

// damaged is the problem behind an archive that cannot be read; what visit found is passed on.
func damaged(err error) error {
	var p *Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return problem(ErrArchive, archiveHint+"; an asset with the right checksum was made wrong", "the archive is damaged, or of a kind that is not known").because(err)
}

// inflate takes the compression off, whichever it is.
func inflate(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		z, err := xz.NewReader(r)
		return z, func() {}, err
	}
	return r, func() {}, nil
}

func walkTar(r *bufio.Reader, visit func(entry) error) error {
	plain, done, err := inflate(r)
	if err != nil {
		return damaged(err)
	}
	defer done()
	t := tar.NewReader(plain)
	for first := true; ; first = false {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			if first {
				return problem(ErrArchive, archiveHint, "the archive is empty")
			}
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are checked by who visits
			return damaged(err)
		}
		e := entry{name: h.Name, mode: h.FileInfo().Mode(), body: t}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue // git's archives begin with one
		case tar.TypeReg, tar.TypeGNUSparse, tar.TypeDir:
		case tar.TypeSymlink:
			e.link = h.Linkname
		case tar.TypeLink:
			e.link, e.hard = h.Linkname, true
		default:
			return problem(ErrUnsafe, unsafeHint, "%.200q in the archive is neither a file, a folder nor a link", h.Name)
		}
		if err := damagedBody(visit(e)); err != nil {
			return err
		}
	}
}

func walkZip(f *os.File, size int64, visit func(entry) error) error {
	z, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return damaged(err)
	}
	for _, part := range z.File {
		e := entry{name: part.Name, mode: part.Mode()}
		body, err := part.Open()
		if err != nil {
			return damaged(err)
		}
		e.body = body
		if e.mode.Type() == fs.ModeSymlink {
			target, err := io.ReadAll(io.LimitReader(body, maxName+1))
			if err != nil {
				_ = body.Close()
				return damaged(err)
			}
			e.link = string(target)
		}
		err = visit(e)
		_ = body.Close()
		if err := damagedBody(err); err != nil {
			return err
		}
	}
	return nil
}

// damagedBody is damaged for what came out of a visit: a system's error there is about this machine, one of reading the body
// about the archive.
func damagedBody(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	if errors.As(err, &path) || errors.As(err, &link) || errors.Is(err, errEnded) {
		return err
	}
	return damaged(err)
}

// arMagic begins a .deb, which is an ar archive: each member behind a header of 60 bytes.
const arMagic = "!<arch>\n"

// walkDeb shows what the data of a Debian package has; its scripts are neither read nor run.
func walkDeb(r *bufio.Reader, visit func(entry) error) error {
	if _, err := r.Discard(len(arMagic)); err != nil {
		return damaged(err)
	}
	for {
		var head [60]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return damaged(errors.Join(errors.New("a .deb without data.tar"), err))
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		if err != nil || size < 0 || string(head[58:]) != "`\n" {
			return damaged(errors.New("a .deb whose members cannot be told apart"))
		}
		name := strings.TrimRight(strings.TrimSpace(string(head[:16])), "/")
		if strings.HasPrefix(name, "data.tar") {
			return walkTar(bufio.NewReaderSize(io.LimitReader(r, size), 64<<10), visit)
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return damaged(err)
		}
	}
}
