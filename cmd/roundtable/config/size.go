package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as "512", "20MiB", "1.5GB".
type Size int64

// units are those of a Size, in bytes, the largest first of each kind.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"B", 1}, {"", 1},
}

var errSize = errors.New(`must be a size, such as "20MiB" or "500GB"`)

// parseSize reads what String writes, and more.
func parseSize(text string) (Size, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n >= 0 && n*float64(u.bytes) < math.MaxInt64) || strings.ContainsAny(number, "xXpPiI") {
			return 0, errSize
		}
		return Size(n * float64(u.bytes)), nil
	}
	return 0, errSize
}

// String writes it with the largest unit that leaves it whole.
func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes it as it is read.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
