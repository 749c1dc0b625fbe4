package node

import (
	"log/slog"
	"strings"
	"time"
)

// LogLine is one line of nodeos' log, taken apart (FACT 2). File and Func are cut to 22 and 20 characters by nodeos.
type LogLine struct {
	Level   slog.Level
	Time    time.Time // UTC, milliseconds
	Thread  string    // "nodeos" is the main thread; net-0, chain-1, http-0, resmon-0 ...
	File    string
	Line    int
	Func    string
	Message string
}

// ParseLogLine takes a line apart, without its newline. It knows the format of Spring, Leap and EOSIO 2.x
//
//	info  2026-11-21T00:33:01.270 nodeos    main.cpp:158                  main                 ] nodeos started
//
// with or without the `<6>` prefix that nodeos writes under systemd (FACT 4). False for anything else.
func ParseLogLine(s string) (LogLine, bool) {
	var l LogLine
	if len(s) > 3 && s[0] == '<' && s[1] >= '0' && s[1] <= '9' && s[2] == '>' {
		s = s[3:]
	}
	level, rest := word(s)
	switch level {
	case "debug":
		l.Level = slog.LevelDebug
	case "info":
		l.Level = slog.LevelInfo
	case "warn":
		l.Level = slog.LevelWarn
	case "error":
		l.Level = slog.LevelError
	default:
		return LogLine{}, false
	}
	stamp, rest := word(rest)
	var ok bool
	if l.Time, ok = parseTime(stamp); !ok {
		return LogLine{}, false
	}
	l.Thread, rest = word(rest)
	where, rest := word(rest)
	colon := strings.LastIndexByte(where, ':')
	if colon <= 0 || colon == len(where)-1 || l.Thread == "" {
		return LogLine{}, false
	}
	n, ok := digits(where[colon+1:])
	if !ok {
		return LogLine{}, false
	}
	l.File, l.Line = where[:colon], n
	end := strings.Index(rest, " ] ")
	if end < 0 {
		if !strings.HasSuffix(rest, " ]") {
			return LogLine{}, false
		}
		end, rest = len(rest)-2, rest+" "
	}
	l.Func = strings.TrimSpace(rest[:end])
	l.Message = rest[end+3:]
	return l, l.Func != ""
}

// word cuts the first blank-delimited word off s.
func word(s string) (first, rest string) {
	s = strings.TrimLeft(s, " ")
	if i := strings.IndexByte(s, ' '); i >= 0 {
		return s[:i], strings.TrimLeft(s[i:], " ")
	}
	return s, ""
}

// digits reads a small decimal number that is all of s.
func digits(s string) (int, bool) {
	if s == "" || len(s) > 10 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// parseTime reads nodeos' UTC time without zone, 2026-11-21T00:33:01.270, by hand: it stands in every line.
func parseTime(s string) (time.Time, bool) {
	if len(s) != 23 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' {
		return time.Time{}, false
	}
	var f [7]int
	for i, r := range [7][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}, {20, 23}} {
		n, ok := digits(s[r[0]:r[1]])
		if !ok {
			return time.Time{}, false
		}
		f[i] = n
	}
	t := time.Date(f[0], time.Month(f[1]), f[2], f[3], f[4], f[5], f[6]*int(time.Millisecond), time.UTC)
	// time.Date normalises 13th months and 61st seconds; nodeos writes none.
	return t, t.Month() == time.Month(f[1]) && t.Day() == f[2] && f[3] < 24 && f[4] < 60 && f[5] < 60
}
