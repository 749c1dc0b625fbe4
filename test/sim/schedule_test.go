package sim_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// schedule is all that happens to a world: what a seed draws, and what a file can hold. A run depends on nothing else.
type schedule struct {
	Seed  uint64  `json:"seed"`           // of raft's and gossip's own dice, and of losses
	Wire  span    `json:"wire"`           // latency between managers, one way
	P2P   span    `json:"p2p"`            // latency between nodes
	Phase span    `json:"phase"`          // of the start in a window
	Skew  [3]span `json:"skew,omitempty"` // of the members' clocks
	Bug   string  `json:"bug,omitempty"`  // a guard that the model gate lacks: for the tests of these tests
	Steps []step  `json:"steps"`
}

// step is one trouble. A step that settles ends an event: the cluster is left alone until it is whole again.
type step struct {
	After  span    `json:"after"`          // since the step before
	Kind   string  `json:"kind"`           // see kinds
	Who    string  `json:"who,omitempty"`  // "holder", "leader", "standby", "other" or an id: resolved when it happens
	To     string  `json:"to,omitempty"`   // the same
	For    span    `json:"for,omitempty"`  // how long it lasts
	By     span    `json:"by,omitempty"`   // a clock's jump, a signer's or a network's delay
	Loss   float64 `json:"loss,omitempty"` // of the network
	Way    string  `json:"way,omitempty"`  // of a partition: "out", "in", or both
	When   string  `json:"when,omitempty"` // of a handoff
	Settle bool    `json:"settle,omitempty"`
}

// span is a duration that reads well in JSON.
type span time.Duration

// MarshalText implements encoding.TextMarshaler.
func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*s = span(d)
	return err
}

func (s schedule) String() string {
	lines := make([]string, 0, len(s.Steps))
	for _, st := range s.Steps {
		b, err := json.Marshal(st)
		if err != nil {
			panic(err)
		}
		lines = append(lines, "  "+string(b))
	}
	rest := s
	rest.Steps = []step{}
	b, err := json.Marshal(rest)
	if err != nil {
		panic(err)
	}
	return strings.TrimSuffix(string(b), "]}") + "\n" + strings.Join(lines, ",\n") + "\n]}\n"
}

func readSchedule(path string) (schedule, error) {
	var s schedule
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, s.check()
}

// check refuses what cannot be run.
func (s schedule) check() error {
	for i, st := range s.Steps {
		if _, ok := kinds[st.Kind]; !ok {
			return fmt.Errorf("step %d: no kind %q", i, st.Kind)
		}
	}
	return nil
}

// dice draws schedules.
type dice struct{ *rand.Rand }

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (d dice) between(least, most time.Duration) span {
	return span((least + time.Duration(d.Int64N(int64(most-least)))).Round(time.Millisecond))
}

// long is anywhere between least and most, each order of magnitude as likely.
func (d dice) long(least, most time.Duration) span {
	octaves := 0
	for least<<(octaves+1) <= most {
		octaves++
	}
	at := least << d.IntN(octaves+1)
	return d.between(at, min(2*at, most)+1)
}

func (d dice) standby() string { return pick(d.Rand, "standby", "other") }
func (d dice) anyone() string  { return pick(d.Rand, "m1", "m2", "m3") }

// draw makes a seed's schedule: the world, and so many events. withheld kinds are not drawn.
func draw(seed uint64, events int) schedule {
	d := dice{rand.New(rand.NewPCG(seed, 7))}
	s := schedule{
		Seed: seed, Phase: span(d.IntN(6000)) * span(time.Millisecond),
		Wire: span(pick(d.Rand, 500*time.Microsecond, 2*time.Millisecond, 10*time.Millisecond)),
		P2P:  span(pick(d.Rand, time.Millisecond, 10*time.Millisecond, 40*time.Millisecond, 80*time.Millisecond)),
	}
	if d.IntN(3) == 0 {
		for i := range s.Skew {
			s.Skew[i] = span(d.IntN(401)-200) * span(time.Millisecond)
		}
	}
	for range events {
		steps := pick(d.Rand, episodes...)(d)
		steps[len(steps)-1].Settle = true
		s.Steps = append(s.Steps, steps...)
	}
	return s
}

// episodes draw the events: one step, or several that meddle with each other.
var episodes = []func(d dice) []step{
	handoff, handoff,
	one("stop", "holder", time.Second, 7*time.Second),
	one("kill", "holder", time.Second, 7*time.Second),
	one("kill", "holder", 100*time.Millisecond, 60*time.Second),
	one("kill-node", "holder", 500*time.Millisecond, 5*time.Second),
	one("kill", "standby", 500*time.Millisecond, 7*time.Second),
	one("kill", "other", 500*time.Millisecond, 20*time.Second),
	one("freeze-node", "holder", 100*time.Millisecond, 60*time.Second),
	one("freeze-manager", "holder", 100*time.Millisecond, 60*time.Second),
	one("freeze", "holder", 100*time.Millisecond, 60*time.Second),
	func(d dice) []step {
		return []step{{After: d.gap(), Kind: pick(d.Rand, "freeze-node", "freeze-manager", "freeze"), Who: d.standby(), For: d.long(100*time.Millisecond, time.Minute)}}
	},
	one("signer-dead", "holder", 200*time.Millisecond, 8*time.Second),
	func(d dice) []step {
		return []step{{After: d.gap(), Kind: "signer-slow", Who: "holder", For: d.between(time.Second, 8*time.Second), By: d.between(5*time.Millisecond, 300*time.Millisecond)}}
	},
	partition("holder", ""), partition("holder", "out"), partition("holder", "in"),
	func(d dice) []step { // the leader, where it is not the holder: it is made so
		move := step{After: d.gap(), Kind: "leadership", To: d.standby(), Settle: true}
		return append([]step{move}, partition("standby", pick(d.Rand, "", "out"))(d)...)
	},
	func(d dice) []step { return partition("other", pick(d.Rand, "", "out", "in"))(d) },
	func(d dice) []step {
		return []step{{After: d.gap(), Kind: "leadership", To: d.anyone()}}
	},
	func(d dice) []step { // killed at any moment of a handoff: its source, its target, or whoever leads
		h := handoff(d)[0]
		return []step{h, {After: d.between(0, 1200*time.Millisecond), Kind: "kill", Who: pick(d.Rand, "holder", "leader", h.To), For: d.between(time.Second, 7*time.Second)}}
	},
	func(d dice) []step { // cut off or frozen at any moment of a handoff
		who := d.anyone()
		return []step{handoff(d)[0], pick(d.Rand,
			step{After: d.between(0, 1200*time.Millisecond), Kind: "partition", Who: who, Way: pick(d.Rand, "", "out", "in"), For: d.between(500*time.Millisecond, 8*time.Second)},
			step{After: d.between(0, 1200*time.Millisecond), Kind: "freeze", Who: who, For: d.long(100*time.Millisecond, 8*time.Second)},
			step{After: d.between(0, 1200*time.Millisecond), Kind: "disk-stall", Who: who, For: d.long(100*time.Millisecond, 8*time.Second)})}
	},
	one("disk-stall", "holder", 200*time.Millisecond, 20*time.Second),
	one("disk-stall", "leader", 200*time.Millisecond, 20*time.Second),
	one("disk-stall", "other", 200*time.Millisecond, 20*time.Second),
	func(d dice) []step { // a clock steps, and back
		return []step{{After: d.gap(), Kind: "clock", Who: pick(d.Rand, "holder", "standby", "other"), For: d.between(time.Second, 12*time.Second), By: pick(d.Rand, span(-1), 1) * d.long(100*time.Millisecond, 10*time.Second)}}
	},
	func(d dice) []step { // all of the network slower and with losses, but not broken
		return []step{{After: d.gap(), Kind: "network", For: d.between(time.Second, 10*time.Second), By: d.between(time.Millisecond, 60*time.Millisecond), Loss: pick(d.Rand, 0, 0.01, 0.05)}}
	},
	func(d dice) []step { // one member's network, badly
		return []step{{After: d.gap(), Kind: "network-bad", Who: pick(d.Rand, "holder", "leader", "other"), For: d.between(time.Second, 10*time.Second), By: d.between(20*time.Millisecond, 400*time.Millisecond), Loss: pick(d.Rand, 0, 0.1, 0.3)}}
	},
	one("rolling", "", 500*time.Millisecond, 3*time.Second),
	one("peerless", "holder", 500*time.Millisecond, 12*time.Second),
	one("peerless", "other", 500*time.Millisecond, 12*time.Second),
	one("behind", "standby", time.Second, 12*time.Second),
	storm,
	operation, operation,
	func(d dice) []step { // several troubles at any moment of an operation
		return append(operation(d), storm(d)...)
	},
	func(d dice) []step { // one of them at any moment of an operation
		list := storm(d)
		list[0].After = d.between(0, 12*time.Second)
		return append(operation(d), list[0])
	},
}

// operation is a rolling one.
func operation(d dice) []step {
	return []step{{After: d.gap(), Kind: "operation", Who: d.anyone(), Way: pick(d.Rand, "restart", "upgrade", "upgrade", "bad upgrade")}}
}

// gap is the quiet before a step.
func (d dice) gap() span { return d.between(0, 1500*time.Millisecond) }

func one(kind, who string, least, most time.Duration) func(dice) []step {
	return func(d dice) []step {
		return []step{{After: d.gap(), Kind: kind, Who: who, For: d.long(least, most)}}
	}
}

func partition(who, way string) func(dice) []step {
	return func(d dice) []step {
		return []step{{After: d.gap(), Kind: "partition", Who: who, Way: way, For: d.between(500*time.Millisecond, 8*time.Second)}}
	}
}

func handoff(d dice) []step {
	return []step{{After: d.gap(), Kind: "handoff", Who: d.anyone(), To: d.standby(), When: pick(d.Rand, "safe", "now")}}
}

// storm is several troubles at once, any of them while another lasts.
func storm(d dice) []step {
	var steps []step
	for range 3 + d.IntN(4) {
		st := step{After: d.between(0, 2*time.Second), Who: d.anyone(), For: d.long(100*time.Millisecond, 8*time.Second)}
		switch st.Kind = pick(d.Rand, "partition", "cut", "freeze", "freeze-node", "freeze-manager", "kill", "kill-node", "disk-stall", "clock", "network-bad", "handoff", "leadership", "signer-dead", "peerless"); st.Kind {
		case "partition":
			st.Way = pick(d.Rand, "", "out", "in")
		case "cut", "leadership":
			st.To = d.anyone()
		case "clock":
			st.By = pick(d.Rand, span(-1), 1) * d.long(100*time.Millisecond, 4*time.Second)
		case "network-bad":
			st.By, st.Loss = d.between(20*time.Millisecond, 400*time.Millisecond), pick(d.Rand, 0, 0.1, 0.3)
		case "handoff":
			st.To, st.When = d.standby(), pick(d.Rand, "safe", "now")
		}
		steps = append(steps, st)
	}
	return steps
}
