package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// toJournal reports whether a writer goes to systemd's journal: it then is the file that JOURNAL_STREAM names by device and
// inode.
func toJournal(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journalHandler puts the level before each line as the journal reads it ("<4>"), so that journalctl --priority finds it.
// inner writes into line.
type journalHandler struct {
	inner slog.Handler
	to    *journalWriter
}

// journalWriter is shared by all handlers made of one.
type journalWriter struct {
	mu   sync.Mutex
	line bytes.Buffer
	w    io.Writer
}

// newJournalHandler makes a handler that writes to the journal what the inner one, which make builds, writes.
func newJournalHandler(w io.Writer, build func(io.Writer) slog.Handler) slog.Handler {
	to := &journalWriter{w: w}
	return &journalHandler{build(&to.line), to}
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.inner.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return &journalHandler{h.inner.WithAttrs(a), h.to}
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.inner.WithGroup(name), h.to}
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.to.mu.Lock()
	defer h.to.mu.Unlock()
	h.to.line.Reset()
	fmt.Fprintf(&h.to.line, "<%d>", priority(r.Level))
	if err := h.inner.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.to.w.Write(h.to.line.Bytes())
	return err
}

// priority is syslog's number for a level.
func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
