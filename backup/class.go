package backup

import (
	"regexp"
	"strings"
)

// class is what is known of how nodeos writes a file (../shared/nodeos/README.md, facts 16 to 22).
type class int

const (
	plain   class = iota // written as a whole
	grows                // only ever longer, but for its end, and for holes that are punched into a pruned one
	archive              // a stride of a log that was closed: it never changes
	state                // rewritten in place, through a map of memory: its times say little
)

var stride = regexp.MustCompile(`^([A-Za-z_]+)-\d+-\d+\.(log|index)$`)

// classOf tells it by the path in the data folder.
func classOf(p string) class {
	name := p[strings.LastIndexByte(p, '/')+1:]
	log := strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".index")
	switch {
	case name == "shared_memory.bin" || strings.HasPrefix(p, "state/"):
		return state
	case stride.MatchString(name):
		return archive
	case name == "blocks.log" || name == "blocks.index":
		return grows
	case log && (strings.Contains(name, "_history.") || below(p, "state-history") || below(p, "state_history")):
		return grows
	}
	return plain
}

func (c class) law() law {
	if c == state {
		return shiftState
	}
	return shiftPlain
}

// live gives the name of the log that a stride was part of before it was closed.
func live(name string) (string, bool) {
	m := stride.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1] + "." + m[2], true
}

// below says whether a path leads through a folder with this name.
func below(p, folder string) bool { return strings.Contains("/"+p, "/"+folder+"/") }

// passing says whether something with this name is of no use elsewhere: locks, sockets, and what is not finished.
func passing(name string) bool {
	if name == "LOCK" || name == "lost+found" || strings.HasPrefix(name, Marker) || strings.HasPrefix(name, "."+Marker) {
		return true
	}
	for _, prefix := range []string{".pending-", ".incomplete-"} { // of nodeos' snapshots, fact 22
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, suffix := range []string{".tmp", ".lock", ".pid", ".sock"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
