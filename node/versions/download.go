package versions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"roundtable/durable"
)

// The files of a download. The part survives a kill; what it is a part of stands in the note beside it.
const (
	partName = "asset.part"
	noteName = "asset.json"
)

// chunk is how much of a body is written at once, in bytes.
const chunk = 256 << 10

// note says what a part is a part of. It is written before the first byte of it.
type note struct {
	Source   string `json:"source"` // as shown
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size,omitempty"`     // of the whole, 0 where the server does not say
	ETag     string `json:"etag,omitempty"`     // a strong one
	Modified string `json:"modified,omitempty"` // Last-Modified, where there is no strong ETag
}

// validator is what makes a server say whether the rest still fits what is there.
func (n note) validator() string {
	if n.ETag != "" {
		return n.ETag
	}
	return n.Modified
}

// report says how far a step is, out of what, in bytes; the whole is 0 where it is not known.
type report func(done, whole int64, text string)

// every thins a report out: at most some hundred calls for one step.
func (r report) every() report {
	var last int64
	text := ""
	return func(done, whole int64, t string) {
		if t != text || done < last || whole > 0 && done >= whole || done-last >= max(whole/200, 256<<10) {
			last, text = done, t
			r(done, whole, t)
		}
	}
}

// download is one asset on its way into a folder.
type download struct {
	h      *Home
	c      *client
	a      Asset
	dir    string
	report report

	resumed bool // part of what is there is from before
}

func (d *download) part() string { return filepath.Join(d.dir, partName) }
func (d *download) note() string { return filepath.Join(d.dir, noteName) }

// fetch brings the asset here and checks its SHA-256. It goes on with what an earlier try has left, where the server says that
// the asset is the same. Where the checksum is wrong nothing is kept.
func (d *download) fetch(ctx context.Context) (path string, size int64, err error) {
	if n, have := d.before(); have > 0 && have == n.Size { // only what comes after it was cut off
		if size, err := d.verify(ctx); err == nil || ctx.Err() != nil {
			return d.part(), size, err
		}
	}
	for {
		if d.a.How == HowFile {
			err = d.copy(ctx)
		} else {
			err = d.c.again(ctx, func() (int64, error) {
				err := d.try(ctx)
				return d.size(), err
			})
		}
		if err != nil {
			if !errors.Is(err, ErrConnection) && !errors.Is(err, ErrStalled) && ctx.Err() == nil {
				d.discard()
			}
			return "", 0, err
		}
		size, err = d.verify(ctx)
		if errors.Is(err, ErrChecksum) && d.resumed {
			d.resumed = false // the part may have been torn by a power cut, or changed behind the server's back: all anew, once
			continue
		}
		return d.part(), size, err
	}
}

// before reads what an earlier try has left of the same asset; anything else is thrown away.
func (d *download) before() (n note, have int64) {
	text, err := readSmall(d.note())
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil || n.Source != d.a.Source || n.SHA256 != d.a.SHA256 {
		d.discard()
		return note{}, 0
	}
	return n, d.size()
}

// size is how much is there.
func (d *download) size() int64 {
	info, err := os.Stat(d.part())
	if err != nil {
		return 0
	}
	return info.Size()
}

// discard throws away what is there.
func (d *download) discard() {
	entries, _ := os.ReadDir(d.dir) // also what durable left when it was killed
	for _, e := range entries {
		_ = os.Remove(filepath.Join(d.dir, e.Name()))
	}
	d.h.step("discard the download")
}

// try asks for the asset, or the rest of it, once.
func (d *download) try(ctx context.Context) error {
	n, have := d.before()
	header := http.Header{}
	if v := n.validator(); have > 0 && v != "" {
		header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
		header.Set("If-Range", v)
	} else {
		have = 0
	}
	watched, alive, stop := watch(ctx, d.c.stall)
	defer stop()
	resp, err := d.c.get(watched, d.a, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		d.discard()
		return problem(ErrConnection, "try again", "%s is shorter than what was fetched of it", d.a.Source)
	case http.StatusPartialContent:
		from, whole, ok := rangeOf(resp.Header.Get("Content-Range"))
		if !ok || from != have || n.Size > 0 && whole >= 0 && whole != n.Size {
			d.discard()
			return problem(ErrConnection, "try again", "%s: the server answers with another part than the one asked for", d.a.Source)
		}
		d.resumed = true
	default:
		have = 0
		n = note{Source: d.a.Source, SHA256: d.a.SHA256, Size: max(resp.ContentLength, 0), Modified: resp.Header.Get("Last-Modified")}
		if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) { // a weak one (W/) does not stand for bytes
			n.ETag = tag
		}
	}
	return d.write(resp.Body, n, have, func(err error) error { return d.c.lost(watched, d.a, err) }, alive)
}

// copy fetches a local asset. What is unpacked is the copy: nobody else can change it after it was checked.
func (d *download) copy(ctx context.Context) error {
	f, err := os.Open(d.a.url.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return problem(ErrMissing, "put the file there, on every member", "there is no %s", d.a.url.Path)
	}
	if err != nil {
		return problem(ErrSource, "the user that runs roundtable must be able to read it", "%s", d.a.Source).because(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return problem(ErrSource, "the user that runs roundtable must be able to read it", "%s", d.a.Source).because(err)
	}
	n := note{Source: d.a.Source, SHA256: d.a.SHA256, Size: info.Size()}
	return d.write(until{ctx, f}, n, 0, func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return problem(ErrSource, "look at that disk", "%s", d.a.Source).because(err)
	}, func() {})
}

// write puts a body behind the bytes that are there. lost is the problem behind a body that cannot be read.
func (d *download) write(body io.Reader, n note, have int64, lost func(error) error, alive func()) error {
	tooLong := func(size int64) error {
		return problem(ErrSource, "is it the right file?", "%s has %s, more than a version may have", d.a.Source, mebibytes(uint64(max(size, 0))))
	}
	if n.Size > d.h.limits.asset {
		return tooLong(n.Size)
	}
	if err := d.h.room("fetching "+d.a.Source, n.Size-have+unpacked(n.Size)); err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE
	if have == 0 {
		flags |= os.O_TRUNC // before the note: bytes of another asset must never count for this one
	}
	f, err := os.OpenFile(d.part(), flags, 0o600)
	if err != nil {
		return broken(d.part(), err)
	}
	defer f.Close()
	if have == 0 {
		d.h.step("truncate the part")
		text, err := json.Marshal(n)
		if err != nil {
			return broken(d.note(), err)
		}
		if err := durable.Write(d.note(), text); err != nil {
			return broken(d.note(), err)
		}
		d.h.step("write the note")
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return broken(d.part(), err)
	}
	buffer := make([]byte, chunk)
	for at := have; ; {
		k, err := body.Read(buffer)
		if k > 0 {
			alive()
			if at += int64(k); at > d.h.limits.asset {
				return tooLong(at)
			}
			if _, err := f.Write(buffer[:k]); err != nil {
				return broken(d.part(), err)
			}
			if at/chunk != (at-int64(k))/chunk {
				d.h.step("write to the part")
			}
			d.report(at, n.Size, "fetching")
		}
		switch {
		case errors.Is(err, io.EOF) && n.Size > 0 && at < n.Size:
			return lost(io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			if err := f.Sync(); err != nil {
				return broken(d.part(), err)
			}
			d.h.step("sync the part")
			return nil
		case err != nil:
			return lost(err)
		}
	}
}

// verify computes the SHA-256 of what is there. It is thrown away where it is the wrong one.
func (d *download) verify(ctx context.Context) (size int64, err error) {
	f, err := os.Open(d.part())
	if err != nil {
		return 0, broken(d.part(), err)
	}
	defer f.Close()
	whole := d.size()
	hash := sha256.New()
	size, err = io.Copy(hash, counted{until{ctx, f}, func(n int64) { d.report(n, whole, "checking") }, new(int64)})
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, broken(d.part(), err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != d.a.SHA256 {
		d.discard()
		return size, problem(ErrChecksum, "nothing was kept; find out which of the two is right before you try again",
			"%s has SHA-256 %s, and must have %s (says the %s)", d.a.Source, sum, d.a.SHA256, d.a.By)
	}
	return size, nil
}

// until is a reader that ends with a context.
type until struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// counted is a reader that says how much was read of it.
type counted struct {
	io.Reader
	say  func(n int64)
	read *int64
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.read += int64(n)
	c.say(*c.read)
	return n, err
}
