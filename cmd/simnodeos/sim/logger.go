package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The loggers that the double writes to. All others of nodeos fall to "default" here.
const (
	logDefault  = "default"
	logProducer = "producer_plugin"
	logNet      = "net_plugin_impl"
	logHTTP     = "http_plugin"
)

// level orders as fc's: a logger writes what is at or above its own.
type level int

const (
	levelAll level = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelOff
)

var levelNames = map[string]level{
	"all": levelAll, "debug": levelDebug, "info": levelInfo, "warn": levelWarn, "error": levelError, "off": levelOff,
}

// levelText is the padded name and the syslog prefix that systemd's journal wants.
var levelText = map[level][2]string{
	levelDebug: {"debug", "<7>"}, levelInfo: {"info ", "<6>"}, levelWarn: {"warn ", "<4>"}, levelError: {"error", "<3>"},
}

// site is where in nodeos' source a message stands; nodeos cuts the file to 22 and the function to 20 characters.
type site struct {
	file string
	line int
	fn   string
}

type sink struct {
	level level
	fds   []int
}

// logger is fc's console logging: one record is the text in one write(2) and the newline in a second one (console_appender.cpp:
// print flushes, then "\n" is printed and flushed). Writes block, as nodeos' do: a reader that stops
// reading stops whoever logs. A closed reader is ignored until the end of the process (fact 13).
type logger struct {
	clock   clock
	journal bool

	mu     sync.Mutex
	sinks  map[string]sink
	broken bool // standard error has no reader any more
}

func newLogger(c clock) *logger {
	_, journal := os.LookupEnv("JOURNAL_STREAM")
	l := &logger{clock: c, journal: journal}
	l.setDefault()
	return l
}

func (l *logger) setDefault() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sinks = map[string]sink{logDefault: {level: levelInfo, fds: []int{2}}}
}

// load reads logging.json. A file that does not exist gives nodeos' default: info to standard error.
func (l *logger) load(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		l.setDefault()
		return nil
	}
	if err != nil {
		return err
	}
	sinks, err := parseLogging(data)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sinks = sinks
	return nil
}

func parseLogging(data []byte) (map[string]sink, error) {
	enabled := true
	type named struct {
		Name    string `json:"name"`
		Enabled *bool  `json:"enabled"`
	}
	var conf struct {
		Appenders []struct {
			named
			Type string `json:"type"`
			Args struct {
				Stream string `json:"stream"`
			} `json:"args"`
		} `json:"appenders"`
		Loggers []struct {
			named
			Level     string   `json:"level"`
			Appenders []string `json:"appenders"`
		} `json:"loggers"`
	}
	if err := json.Unmarshal(data, &conf); err != nil {
		return nil, fmt.Errorf("logging.json: %w", err)
	}
	streams := map[string]int{}
	for _, a := range conf.Appenders {
		if a.Enabled == nil {
			a.Enabled = &enabled
		}
		if a.Type != "console" || !*a.Enabled {
			continue
		}
		switch a.Args.Stream {
		case "std_out":
			streams[a.Name] = 1
		case "std_error", "":
			streams[a.Name] = 2
		default:
			return nil, fmt.Errorf("logging.json: unknown stream %q", a.Args.Stream)
		}
	}
	sinks := map[string]sink{}
	for _, lg := range conf.Loggers {
		lv, ok := levelNames[lg.Level]
		if !ok {
			return nil, fmt.Errorf("logging.json: unknown level %q", lg.Level)
		}
		s := sink{level: lv}
		if lg.Enabled != nil && !*lg.Enabled {
			s.level = levelOff
		}
		for _, name := range lg.Appenders {
			if fd, ok := streams[name]; ok {
				s.fds = append(s.fds, fd)
			}
		}
		sinks[lg.Name] = s
	}
	if _, ok := sinks[logDefault]; !ok {
		sinks[logDefault] = sink{level: levelInfo, fds: []int{2}}
	}
	return sinks, nil
}

// log writes one record from the main thread.
func (l *logger) log(name string, lv level, at site, format string, args ...any) {
	l.logFrom("nodeos", name, lv, at, format, args...)
}

// logFrom writes one record from the given thread of nodeos ("nodeos" is the main one).
func (l *logger) logFrom(thread, name string, lv level, at site, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.sinks[name]
	if !ok {
		s = l.sinks[logDefault]
	}
	if lv < s.level || len(s.fds) == 0 {
		return
	}
	prefix := ""
	if l.journal {
		prefix = levelText[lv][1]
	}
	fileLine := fmt.Sprintf("%s:%-6d", cut(at.file, 22), at.line)
	text := fmt.Sprintf("%s%s %s %-9.9s %-29.29s %-20.20s ] %s", prefix, levelText[lv][0], formatTime(l.clock.now()), thread,
		fileLine, at.fn, fmt.Sprintf(format, args...))
	for _, fd := range s.fds {
		l.write(fd, text)
		l.write(fd, "\n")
	}
}

// raw writes text that is no log record, such as appbase's warnings, to standard error.
func (l *logger) raw(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(2, text)
}

// write is fprintf and fflush through a stdio buffer of 4096 bytes. The text is written with bare system calls:
// os.File would die of SIGPIPE on the first lost reader, nodeos only when it ends.
func (l *logger) write(fd int, text string) {
	for len(text) > 0 {
		n := min(len(text), 4096)
		written, err := unix.Write(fd, []byte(text[:n]))
		switch {
		case err == nil:
			text = text[written:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			if fd == 2 && errors.Is(err, unix.EPIPE) {
				l.broken = true
			}
			return
		}
	}
}

// lastWords is called when the process ends: with no reader on standard error nodeos dies of SIGPIPE at this point.
func (l *logger) lastWords() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		_, _ = os.Stderr.WriteString("\n") // os.File kills the process with SIGPIPE
	}
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// chainError is an exception of nodeos with its log entries, printed as fc's to_detail_string prints it.
type chainError struct {
	code    int64
	name    string
	what    string
	entries []errorEntry
	exit    int // process exit code if it ends the start-up; 0 means 254
}

type errorEntry struct {
	message string
	data    string // JSON; "" is {}
	at      site
}

func (e *chainError) Error() string {
	if len(e.entries) > 0 {
		return e.name + ": " + e.entries[0].message
	}
	return e.name + ": " + e.what
}

func (e *chainError) detail() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: %s\n", e.code, e.name, e.what)
	for _, n := range e.entries {
		data := n.data
		if data == "" {
			data = "{}"
		}
		fmt.Fprintf(&b, "%s\n    %s\n    nodeos  %s:%d %s\n", n.message, data, n.at.file, n.at.line, n.at.fn)
	}
	return b.String()
}

// with returns the exception with one more entry, as a rethrow adds it.
func (e *chainError) with(message, data string, at site) *chainError {
	c := *e
	c.entries = append(append([]errorEntry(nil), e.entries...), errorEntry{message, data, at})
	return &c
}

func newError(code int64, name, what, message, data string, at site) *chainError {
	return &chainError{code: code, name: name, what: what, entries: []errorEntry{{message, data, at}}}
}

func assertError(message, data string, at site) *chainError {
	return newError(10, "assert_exception", "Assert Exception", message, data, at)
}

func configError(message, data string, at site) *chainError {
	return newError(3110006, "plugin_config_exception", "Incorrect plugin configuration", message, data, at)
}
