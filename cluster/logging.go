package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"roundtable/logkey"
)

// raftLogger hands raft's lines to slog. The libraries' info is our debug and their complaints are our info, once a minute
// each: the state changes that matter (leadership, membership, managers seen and lost, a stalled disk) have lines of ours.
func raftLogger(l *slog.Logger) hclog.Logger {
	h := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	h.RegisterSink(&slogSink{log: l})
	return h
}

// gossipLogger hands memberlist's lines ("[WARN] memberlist: ...") to slog.
func gossipLogger(l *slog.Logger) *log.Logger {
	h := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	h.RegisterSink(&slogSink{log: l})
	return h.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true})
}

// sameEvery is how often one and the same complaint is logged: the libraries repeat theirs several times a second.
const sameEvery = time.Minute

type slogSink struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // by message
}

// news reports whether a complaint was not logged lately.
func (s *slogSink) news(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last[msg]) < sameEvery {
		return false
	}
	if s.last == nil || len(s.last) >= 256 {
		s.last = map[string]time.Time{}
	}
	s.last[msg] = now
	return true
}

// Accept implements hclog.SinkAdapter.
func (s *slogSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	lv := slog.LevelDebug
	switch level {
	case hclog.Warn, hclog.Error:
		if s.news(msg) {
			lv = slog.LevelInfo
		}
	}
	ctx := context.Background()
	if !s.log.Enabled(ctx, lv) {
		return
	}
	args = slices.Clone(args)
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		if key, ok := a.(string); ok && i%2 == 0 {
			args[i] = ownKey(key)
		}
	}
	if name != "" {
		args = append(args, "source", name)
	}
	s.log.Log(ctx, lv, strings.TrimPrefix(msg, "memberlist: "), args...)
}

// ownKey writes a library's key as ours are, and none like one that stands on every line.
func ownKey(key string) string {
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, logkey.Member, logkey.Part:
		return "raft_" + key
	case "error":
		return logkey.Err
	}
	return strings.ToLower(strings.NewReplacer("-", "_", " ", "_").Replace(key))
}
