package node

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
)

// message is a log message under construction: its first line and the continuation lines that came so far (FACT 3).
type message struct {
	text  strings.Builder
	line  LogLine
	level slog.Level
	loose bool // bare lines may follow: exceptions, and what appbase prints itself
}

// loners are the lines that are in no log format and start a message of their own.
var loners = []string{
	"APPBASE: ", "CHAINBASE: ", "appbase: ", "Database dirty flag set", "Caught application loop exception",
	"Dynamic exception type:", "std::exception::what:", "Invalid ", "DMLOG ",
}

// newMessage starts a message at a line; known is false for a line in no known format.
func newMessage(r record) (m *message, known bool) {
	m = &message{line: r.line}
	if r.parsed {
		m.level, known = levelOf(r.line), true
		m.loose = r.line.Level >= slog.LevelWarn
		m.text.WriteString(r.line.Message)
		return m, known
	}
	m.text.WriteString(r.text)
	m.level = slog.LevelInfo
	for _, prefix := range loners {
		if strings.HasPrefix(r.text, prefix) {
			m.level, m.loose, known = slog.LevelWarn, true, true
			break
		}
	}
	if strings.HasPrefix(r.text, "DMLOG ") {
		m.level, m.loose = slog.LevelDebug, false
	}
	return m, known || r.text == ""
}

// takes reports whether an unparsed line continues this message.
func (m *message) takes(text string) bool {
	if text == "" || text[0] == ' ' || text[0] == '\t' || text[0] == '}' || text[0] == ']' {
		return true
	}
	if !m.loose {
		return false
	}
	for _, prefix := range loners[:5] {
		if strings.HasPrefix(text, prefix) {
			return false
		}
	}
	return true
}

func (m *message) add(text string) {
	if text != "" && m.text.Len()+len(text) < recordKept {
		m.text.WriteByte('\n')
		m.text.WriteString(text)
	}
}

// chatter is what nodeos says at info or above that an operator does not want to read: hundreds of lines per start, two per
// second for ever (170k a day on a paused standby).
var chatter = []string{
	"Produced block ", "Received block ", "Support for builtin protocol feature ", "Saved default specification for builtin",
	"Not producing block because production is explicitly paused", "Starting block #", "Produce block timer for ",
	"Non-default options:", "p2p client connections: ",
}

// levelOf is the level a line gets in the manager's log.
func levelOf(l LogLine) slog.Level {
	if l.Level == slog.LevelDebug || strings.HasPrefix(l.Message, "add ") && strings.Contains(l.Message, " api url: ") {
		return slog.LevelDebug
	}
	for _, prefix := range chatter {
		if strings.HasPrefix(l.Message, prefix) {
			return slog.LevelDebug
		}
	}
	return l.Level
}

// isClosed reports a read from a pipe that was closed under the reader.
func isClosed(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}
