package manager

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"roundtable/cmd/roundtable/config"
)

const (
	archiveWindow  = 1 << 30          // bytes that a zstd archive may make its reader take: zstd --long=30
	archiveEntries = 1_000_000        // in an archive, at most
	archiveStall   = 2 * time.Minute  // without a byte
	archiveBlock   = 64 << 10         // what has only zeros is a hole
	archiveConnect = 30 * time.Second // until the headers of an answer are there
)

// unpack unpacks an archive beside the node's data while it is read, and gives the folder with a chain in it. It is used only where its
// checksum is right. Nothing is written but files and folders below that folder: links, devices, and names that lead out are refused, and
// finalizers/ is left out.
func (v *vault) unpack(ctx context.Context, b config.Bootstrap, side string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("manager: bootstrap.archive %s: %w", maskURL(b.Archive), err)
	}
	if err := errors.Join(os.RemoveAll(side), os.MkdirAll(side, 0o755)); err != nil { // nodeos' own folders have this mode
		return fail(err)
	}
	in, size, err := openArchive(ctx, b.Archive)
	if err != nil {
		return fail(err)
	}
	defer in.Close()
	if err := v.room(side, size, 0); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(side)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = root.Close() }()
	sum := sha256.New()
	whole := bufio.NewReaderSize(io.TeeReader(in, sum), 1<<20)
	if err = untar(ctx, whole, root); err == nil {
		_, err = io.Copy(io.Discard, whole) // what follows the end belongs to the sum
	}
	if ctx.Err() != nil {
		return fail(context.Cause(ctx))
	}
	if have := hex.EncodeToString(sum.Sum(nil)); err == nil && b.SHA256 != "" && !strings.EqualFold(have, b.SHA256) {
		err = fmt.Errorf("its SHA-256 is %s, not %s (hint: nothing of it is used; ask who made it)", have, strings.ToLower(b.SHA256))
	}
	if err != nil {
		return fail(errors.Join(err, os.RemoveAll(side)))
	}
	dir, err := rootOf(side)
	if err == nil {
		err = v.lasting(dir)
	}
	if err != nil {
		return fail(err)
	}
	return dir, nil
}

// openArchive opens a file or a URL; size is 0 where it is not known.
func openArchive(ctx context.Context, archive string) (io.ReadCloser, int64, error) {
	if !strings.Contains(archive, "://") {
		f, err := os.Open(archive)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is no file")
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		return f, info.Size(), nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stalled := time.AfterFunc(archiveConnect, func() { cancel(errArchiveStalled) })
	end := func() { stalled.Stop(); cancel(nil) }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, archive, nil)
	if err != nil {
		end()
		return nil, 0, errors.New("it is no URL")
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		err = bare(err)
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		end()
		return nil, 0, err
	}
	if answer.StatusCode != http.StatusOK {
		err := fmt.Errorf("the server says %s", answer.Status)
		end()
		return nil, 0, errors.Join(err, answer.Body.Close())
	}
	return &watched{answer.Body, stalled, end, ctx}, max(answer.ContentLength, 0), nil
}

var errArchiveStalled = errors.New("nothing comes from the server any more")

// bare is an error of a request without its URL, which may hold a password.
func bare(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// watched is a body whose reader is ended when nothing comes.
type watched struct {
	io.ReadCloser
	stalled *time.Timer
	end     func()
	ctx     context.Context
}

// Read reads.
func (w *watched) Read(b []byte) (int, error) {
	w.stalled.Reset(archiveStall)
	n, err := w.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// Close closes it.
func (w *watched) Close() error {
	defer w.end()
	return w.ReadCloser.Close()
}

// inflate takes the compression off, which the first bytes tell.
func inflate(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, nil, fmt.Errorf("it is too short for an archive: %w", err)
	}
	switch {
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(archiveWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	}
	return r, func() {}, nil
}

// untar unpacks below a root, which the system keeps from leading out.
func untar(ctx context.Context, r *bufio.Reader, root *os.Root) error {
	plain, done, err := inflate(r)
	if err != nil {
		return err
	}
	defer done()
	t := tar.NewReader(plain)
	buffer := make([]byte, archiveBlock)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, tar.ErrInsecurePath): // names are checked here
			return fmt.Errorf("it cannot be read: %w", err)
		case n > archiveEntries:
			return fmt.Errorf("there are more than %d files in it", archiveEntries)
		}
		name := filepath.Clean(strings.TrimSuffix(h.Name, "/"))
		switch {
		case h.Typeflag == tar.TypeXGlobalHeader, name == ".":
			continue
		case !filepath.IsLocal(name) || strings.ContainsRune(h.Name, 0):
			return fmt.Errorf("%.200q in it leads out of it (hint: do not use this archive, and find out where it comes from)", h.Name)
		case strings.Contains("/"+filepath.ToSlash(name)+"/", "/finalizers/"): // recordings, facts 38 and 39
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg, tar.TypeGNUSparse:
			err = unpackFile(ctx, t, root, name, h.Size, buffer)
		default:
			err = fmt.Errorf("%.200q in it is neither a file nor a folder (hint: make the archive without links)", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

// unpackFile writes one file; what has only zeros is a hole.
func unpackFile(ctx context.Context, r io.Reader, root *os.Root, name string, size int64, buffer []byte) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%.200q is twice in it", name)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zeros := make([]byte, len(buffer))
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buffer[:min(int64(len(buffer)), size-at)])
		if err != nil {
			return fmt.Errorf("it cannot be read: %w", err)
		}
		if !bytes.Equal(buffer[:n], zeros[:n]) {
			if _, err := f.WriteAt(buffer[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}

// maskURL is an archive's name as it may be shown.
func maskURL(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "***"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
