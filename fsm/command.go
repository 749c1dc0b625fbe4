package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// EntryVersion is the highest entry version that this program understands. An entry is written with the lowest version that
// knows all of it (Needs), and nothing above version 1 is proposed before every member understands it, so that programs of
// two versions share one log for as long as nobody uses what is new (docs/decisions/0008).
const EntryVersion = 4

// Bounds of what a proposer may put into the log, so that the state stays small whatever is asked for.
const (
	MaxEntry = 16 << 10 // bytes of an encoded entry
	MaxKey   = 128      // bytes of an idempotency key
)

// Command is a change somebody asks for. The kinds are append-only names: a kind once in a log is known for ever.
type Command interface {
	Kind() string
	// apply changes s, which is a private copy, or refuses. It must not modify anything a published state shares.
	apply(s *State, e Entry) error
}

// Entry is a command as it stands in the log, with what its proposer stamped on it.
type Entry struct {
	Index   uint64 // its place in the log; set when it is applied, not encoded
	At      int64  // Unix ms, the proposer's clock
	By      string // member id of the proposer
	Key     string // idempotency key, "" for none
	Actor   string // on whose behalf, such as "token:alice"; "" for what the cluster does by itself. Version 2
	Command Command
}

// Result is what applying an entry gave: the index under which it took effect (an earlier one where the idempotency key
// was seen before) and the refusal, if any.
type Result struct {
	Index uint64
	Err   error // nil or a *Refusal
}

// kinds knows every command: how to decode it and since which entry version it exists.
var kinds = map[string]struct {
	decode func([]byte) (Command, error)
	since  uint32
}{
	Grant{}.Kind():            {decoder[Grant], 1},
	Extend{}.Kind():           {decoder[Extend], 1},
	Release{}.Kind():          {decoder[Release], 1},
	Transfer{}.Kind():         {decoder[Transfer], 1},
	PutMember{}.Kind():        {decoder[PutMember], 1},
	SetMember{}.Kind():        {decoder[SetMember], 1},
	RemoveMember{}.Kind():     {decoder[RemoveMember], 1},
	SetCluster{}.Kind():       {decoder[SetCluster], 1},
	PutRound{}.Kind():         {decoder[PutRound], 1},
	PutWindow{}.Kind():        {decoder[PutWindow], 1},
	StartOperation{}.Kind():   {decoder[StartOperation], 1},
	AdvanceOperation{}.Kind(): {decoder[AdvanceOperation], 1},
	FinishOperation{}.Kind():  {decoder[FinishOperation], 1},
	ExpireOperation{}.Kind():  {decoder[ExpireOperation], 1},
	RaiseAlarm{}.Kind():       {decoder[RaiseAlarm], 1},
	PatchCluster{}.Kind():     {decoder[PatchCluster], 2},
	PutToken{}.Kind():         {decoder[PutToken], 2},
	RemoveToken{}.Kind():      {decoder[RemoveToken], 2},
	PutInvite{}.Kind():        {decoder[PutInvite], 2},
	UseInvite{}.Kind():        {decoder[UseInvite], 2},
	NoteLeader{}.Kind():       {decoder[NoteLeader], 2},
	TurnOperation{}.Kind():    {decoder[TurnOperation], 3},
	ReportOperation{}.Kind():  {decoder[ReportOperation], 3},
	CancelOperation{}.Kind():  {decoder[CancelOperation], 3},
	PutHome{}.Kind():          {decoder[PutHome], 3},
	PutBackup{}.Kind():        {decoder[PutBackup], 4},
	SetBackup{}.Kind():        {decoder[SetBackup], 4},
	ExpireBackup{}.Kind():     {decoder[ExpireBackup], 4},
	DropBackup{}.Kind():       {decoder[DropBackup], 4},
	PutPlan{}.Kind():          {decoder[PutPlan], 4},
	SetPlan{}.Kind():          {decoder[SetPlan], 4},
	RemovePlan{}.Kind():       {decoder[RemovePlan], 4},
	FirePlan{}.Kind():         {decoder[FirePlan], 4},
}

func decoder[C Command](b []byte) (Command, error) {
	var c C
	err := strict(b, &c)
	return c, err
}

// strict decodes one JSON value; an unknown field, or anything but space after the value, is an error.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if rest := bytes.TrimSpace(b[d.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the value", len(rest))
	}
	return nil
}

// Since is the entry version that knows a kind of command; 0 for an unknown kind.
func Since(kind string) uint32 { return kinds[kind].since }

// Needs is the lowest entry version that knows a command with all that it says; 0 for an unknown kind.
func Needs(c Command) uint32 {
	since := Since(c.Kind())
	if grown, ok := c.(interface{ needs() uint32 }); ok && since > 0 { // a kind that got a field later
		since = max(since, grown.needs())
	}
	return since
}

// needs is the lowest version that knows all of an entry.
func (e Entry) needs() uint32 {
	v := Needs(e.Command)
	if e.Actor != "" {
		v = max(v, 2)
	}
	return v
}

type wire struct {
	Version uint32          `json:"v"`
	Kind    string          `json:"kind"`
	At      int64           `json:"at"`
	By      string          `json:"by,omitempty"`
	Key     string          `json:"key,omitempty"`
	Actor   string          `json:"actor,omitempty"`
	Body    json.RawMessage `json:"body"`
}

// Encode writes an entry as it goes into the log. An entry over the bounds is an error; of the texts that tell why, which may be as
// long as what a node wrote, only what the state keeps goes there.
func Encode(e Entry) ([]byte, error) {
	if e.Command == nil {
		return nil, errors.New("fsm: an entry needs a command")
	}
	if long, ok := e.Command.(interface{ clipped() Command }); ok {
		e.Command = long.clipped()
	}
	body, err := json.Marshal(e.Command)
	if err != nil {
		return nil, fmt.Errorf("fsm: encode %s: %w", e.Command.Kind(), err)
	}
	if len(e.Key) > MaxKey {
		return nil, fmt.Errorf("fsm: an idempotency key of %d bytes: at most %d are taken", len(e.Key), MaxKey)
	}
	b, err := json.Marshal(wire{e.needs(), e.Command.Kind(), e.At, e.By, e.Key, e.Actor, body})
	if err == nil && len(b) > MaxEntry {
		return nil, fmt.Errorf("fsm: a %s of %d bytes: at most %d are taken", e.Command.Kind(), len(b), MaxEntry)
	}
	return b, err
}

// Decode reads what Encode wrote. It never guesses: an unknown kind, version or field is an error, and whoever applies
// the log must stop on it, since skipping an entry would make the replicas diverge.
func Decode(b []byte) (Entry, error) {
	var w wire
	if err := strict(b, &w); err != nil {
		return Entry{}, fmt.Errorf("fsm: decode entry: %w", err)
	}
	k, ok := kinds[w.Kind]
	if !ok || w.Version < k.since || w.Version > EntryVersion {
		return Entry{}, fmt.Errorf("fsm: entry of kind %q, version %d is not known to this program (version %d): upgrade it", w.Kind, w.Version, EntryVersion)
	}
	if len(w.Body) == 0 || w.Body[0] != '{' {
		return Entry{}, fmt.Errorf("fsm: decode %s: it has no body", w.Kind)
	}
	c, err := k.decode(w.Body)
	if err != nil {
		return Entry{}, fmt.Errorf("fsm: decode %s: %w", w.Kind, err)
	}
	e := Entry{At: w.At, By: w.By, Key: w.Key, Actor: w.Actor, Command: c}
	if w.Version < e.needs() {
		return Entry{}, fmt.Errorf("fsm: decode %s: it says what version %d does not know", w.Kind, w.Version)
	}
	return e, nil
}

// Apply returns the state after the entry; s itself is never changed. A refused command gives a state that differs in
// nothing but the applied index, the memory of its idempotency key and the level of the log. A repeated key has no second
// effect and gives the first one's result.
func (s *State) Apply(e Entry) (*State, Result) {
	next := *s
	next.Index = e.Index
	if v := e.needs(); v > 1 {
		next.Level = max(next.Level, v)
	}
	if e.Key != "" {
		for _, r := range s.Requests {
			if r.Key == e.Key {
				return &next, result(r.Index, r.Refusal)
			}
		}
	}
	var refusal *Refusal
	if err := e.Command.apply(&next, e); err != nil {
		if !errors.As(err, &refusal) {
			panic(fmt.Sprintf("fsm: %s refused with an error that is no refusal: %v", e.Command.Kind(), err))
		}
		level := next.Level
		next = *s
		next.Index, next.Level = e.Index, level
	}
	if e.Key != "" {
		next.Requests = appendBounded(s.Requests, Request{e.Key, e.Index, refusal}, maxRequests)
	}
	return &next, result(e.Index, refusal)
}

func result(index uint64, refusal *Refusal) Result {
	if refusal == nil {
		return Result{Index: index}
	}
	return Result{Index: index, Err: refusal}
}
