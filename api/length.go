package api

import (
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// length reads a length of time as people write it: Go's, such as 1h30m, or days or weeks, such as 30d and 2w.
func length(text string) (time.Duration, error) {
	for unit, long := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if n, err := strconv.ParseUint(strings.TrimSuffix(text, unit), 10, 16); err == nil && strings.HasSuffix(text, unit) {
			return time.Duration(n) * long, nil
		}
	}
	return time.ParseDuration(text)
}

// lengthText writes what length reads: the shortest way of saying so many ms; "" for 0.
func lengthText(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case ms == 0:
		return ""
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	default:
		text := d.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	}
}

// lengthOf reads a field with a length of time between two bounds; 0 where it is empty.
func lengthOf(field, text string, least, most time.Duration) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := length(text)
	if err != nil || d < least || d > most {
		return 0, badInput("such as 10m", "%q must be a duration from %s to %s, not %.32q", field, least, most, text)
	}
	return d, nil
}
