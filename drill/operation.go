package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roundtable/api"
	"roundtable/fsm"
)

// turnTime bounds what a rolling operation may take for one member, handoff and gap not counted.
const turnTime = 60 * time.Second

// errNoOperations is of a system that is not ours.
var errNoOperations = errors.New("drill: it has no such operation")

// Begin asks a member for an operation and returns its id.
func (s *Sandbox) Begin(ctx context.Context, ask *Member, path, body string) (string, error) {
	var answer struct {
		Operation string `json:"operation"`
	}
	err := s.post(ctx, ask.API+path, body, &answer)
	return answer.Operation, err
}

// Operation asks a member for an operation.
func (s *Sandbox) Operation(ctx context.Context, ask *Member, id string) (o api.Operation, err error) {
	err = s.get(ctx, ask.API+"/cluster/operations/"+id, &o)
	return o, err
}

// operate asks a member for an operation, waits until it is done, and returns its id.
func (s *Sandbox) operate(ctx context.Context, ask *Member, path, body string) (string, error) {
	id, err := s.Begin(ctx, ask, path, body)
	if err != nil {
		return "", err
	}
	return id, Poll(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		o, err := s.Operation(ctx, ask, id)
		switch {
		case err != nil:
			return err
		case o.Outcome == fsm.Done:
			return nil
		case o.Outcome != fsm.Running:
			return stop{fmt.Errorf("the %s is %s: %s", o.Kind, o.Outcome, o.Reason)}
		}
		return fmt.Errorf("the %s is running: %s", o.Kind, o.Message)
	})
}

// turn is a rolling operation: all nodes, one after the other. It wants each of them started anew.
func (d *drill) turn(ctx context.Context, what, path, body string) (Event, error) {
	return d.operation(ctx, what, time.Duration(len(d.Members))*turnTime, func(ctx context.Context, _ View, _ *Event) error {
		_, err := d.operate(ctx, d.Members[d.rand.IntN(len(d.Members))], path, body)
		return err
	}, func(_ View, m *Member, kept bool) error {
		if kept {
			return fmt.Errorf("it is done, and the node of %s is the one from before", m.ID)
		}
		return nil
	})
}

// operation does something within a limit, to which the gap between our windows comes, since nothing is stopped near one. It may end no
// manager; node judges what became of each member's node.
func (d *drill) operation(ctx context.Context, what string, limit time.Duration, do func(context.Context, View, *Event) error, node func(v View, m *Member, kept bool) error) (Event, error) {
	e := Event{What: what}
	v, err := d.look(ctx)
	if err != nil {
		return e, err
	}
	if d.system != (ours{}) {
		return e, errNoOperations
	}
	before, err := d.pids()
	if err != nil {
		return e, err
	}
	if d.gapped() {
		limit += 2 * time.Duration(d.round()) * 500 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	e.From, e.At = v.Holder, time.Now()
	e.FirstSlot = slotAt(e.At)
	if err := do(ctx, v, &e); err != nil {
		return e, err
	}
	e.Took = time.Since(e.At)
	now, err := d.pids()
	if err != nil {
		return e, err
	}
	for i, m := range d.Members {
		if now[i].manager != before[i].manager {
			return e, fmt.Errorf("the manager of %s ended meanwhile", m.ID)
		}
		if err := node(v, m, now[i].node == before[i].node); err != nil {
			return e, err
		}
	}
	return e, nil
}

// pids are a member's processes.
type pids struct{ manager, node int }

func (s *Sandbox) pids() ([]pids, error) {
	list := make([]pids, len(s.Members))
	for i, m := range s.Members {
		node, err := s.NodePID(m)
		if err != nil {
			return nil, err
		}
		list[i] = pids{m.PID(), node}
	}
	return list, nil
}

// restart restarts every node by one operation.
func (d *drill) restart(ctx context.Context) (Event, error) {
	return d.turn(ctx, "restart of all nodes", "/cluster/restart", `{"rolling":true}`)
}

// upgrade brings every node to the other one of the two versions, by one operation.
func (d *drill) upgrade(ctx context.Context) (Event, error) {
	next, err := d.nextVersion(d.Members[0])
	if err != nil {
		return Event{What: "upgrade"}, err
	}
	e, err := d.turn(ctx, "upgrade to "+next.tag, "/cluster/upgrade", fmt.Sprintf(`{"tag":%q}`, next.tag))
	if err != nil {
		return e, err
	}
	for _, m := range d.Members {
		if err := d.Runs(ctx, m, next.tag); err != nil {
			return e, fmt.Errorf("it is done, and: %w", err)
		}
	}
	return e, nil
}
