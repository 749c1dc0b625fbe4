package drill

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// produced is the message nodeos writes once a block is signed and added to its chain. The 16 digits are characters 8 to 23
// of the block's id.
var produced = regexp.MustCompile(`^Produced block ([0-9a-f]{16})\.\.\. #(\d+) @ (\S+) signed by \S+ \[trxs: .*\]$`)

// logForms are the three ways such a message is found in a log: time first, message second.
var (
	plainLine   = regexp.MustCompile(`^(?:<\d>)?info +(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}) \S+ +\S+:\d+ +\S.*? +\] (Produced block .*)$`) // nodeos' stderr
	managerLine = regexp.MustCompile(`^time=(\S+) level=DEBUG msg="(Produced block [^"]*)"? ?.*$`)                                           // a manager's log
)

const nodeosTime = "2006-01-02T15:04:05.000"

// ReadProduced is the ledger of a real nodeos, which keeps none: the `Produced block` lines of its stderr, or of the log of
// the manager that ran it, which has them at log level debug only. Digest stays empty and ID has 16 digits.
//
// It is weaker evidence than a ledger: nodeos writes the line after it has signed, so a block signed in the instant of a
// kill may be missing, a manager killed with its node loses what it had not written yet, and it writes up to a second late
// (SignedAt). A last line cut short is ignored; any other broken one is an error, for a lost line could hide a double.
func ReadProduced(node string, files ...string) ([]Signature, error) {
	var all []Signature
	for _, name := range files {
		list, err := readProduced(node, name)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func readProduced(node, name string) ([]Signature, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("drill: log of %s: %w", node, err)
	}
	defer f.Close()
	var list []Signature
	var broken error
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for n := 1; lines.Scan(); n++ {
		if broken != nil {
			return nil, broken // it was not the last line
		}
		at, message, ok := producedMessage(lines.Text())
		if !ok {
			continue
		}
		s, err := parseProduced(message)
		if err != nil {
			broken = fmt.Errorf("drill: log %s, line %d: %w", name, n, err)
			continue
		}
		s.Node, s.SignedAt = node, at
		list = append(list, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("drill: log %s: %w", name, err)
	}
	return list, nil
}

// producedMessage takes time and message out of a line that tells of a produced block, whole or not.
func producedMessage(line string) (at, message string, ok bool) {
	if !strings.Contains(line, "Produced block ") {
		return "", "", false
	}
	if m := plainLine.FindStringSubmatch(line); m != nil {
		return m[1] + "Z", m[2], true
	}
	if m := managerLine.FindStringSubmatch(line); m != nil {
		return m[1], m[2], true
	}
	var record struct {
		Time string `json:"time"`
		Msg  string `json:"msg"`
	}
	if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &record) == nil && strings.HasPrefix(record.Msg, "Produced block ") {
		return record.Time, record.Msg, true
	}
	return "", "", false // somebody speaks of it
}

func parseProduced(message string) (Signature, error) {
	m := produced.FindStringSubmatch(message)
	if m == nil {
		return Signature{}, fmt.Errorf("%q does not tell which block", message)
	}
	num, err := strconv.ParseUint(m[2], 10, 32)
	if err != nil {
		return Signature{}, fmt.Errorf("block number: %w", err)
	}
	at, err := time.Parse(nodeosTime, m[3])
	if err != nil {
		return Signature{}, fmt.Errorf("block time: %w", err)
	}
	return Signature{Slot: slotAt(at), Num: uint32(num), ID: m[1]}, nil
}
