package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roundtable/api"
	"roundtable/fsm"
)

// taskTime bounds an operation on a backup, the wait for the gap not counted.
const taskTime = 2 * time.Minute

// backup has a backup of each kind made, in either order. Which standby makes them is the cluster's choice.
func (d *drill) backup(ctx context.Context) (Event, error) {
	return d.task(ctx, "backup of each kind", func(ctx context.Context, v View, e *Event) error {
		kinds := []string{fsm.CopiesSnapshot, fsm.CopiesData}
		d.rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for _, kind := range kinds {
			b, err := d.makeBackup(ctx, kind)
			if err != nil {
				return err
			}
			if b.Member == v.Holder {
				return fmt.Errorf("the %s %s was made by the holder, %s", kind, b.ID, b.Member)
			}
			e.What += fmt.Sprintf(", %s of %s", kind, b.Member)
		}
		return nil
	})
}

// restore has a backup of one kind made and restored to a standby.
func (d *drill) restore(ctx context.Context) (Event, error) {
	return d.task(ctx, "backup and restore", func(ctx context.Context, v View, e *Event) error {
		kind := []string{fsm.CopiesSnapshot, fsm.CopiesData}[d.rand.IntN(2)]
		m := d.other(v.Holder)
		e.What = fmt.Sprintf("backup (%s) and restore to %s", kind, m.ID)
		b, err := d.makeBackup(ctx, kind)
		if err != nil {
			return err
		}
		before, err := d.NodePID(m)
		if err := errors.Join(err, d.Remember(ctx)); err != nil {
			return err
		}
		if _, err := d.operateTask(ctx, "/cluster/backups/"+b.ID+"/restore", fmt.Sprintf(`{"member":%q}`, m.ID)); err != nil {
			return err
		}
		if now, err := d.NodePID(m); err != nil || now == before {
			return errors.Join(fmt.Errorf("it is done, and the node of %s was process %d before, and is %d", m.ID, before, now), err)
		}
		return nil
	})
}

// makeBackup has a backup made, and looks whether the catalogue has it.
func (d *drill) makeBackup(ctx context.Context, kind string) (b api.Backup, err error) {
	o, err := d.operateTask(ctx, "/cluster/backup", fmt.Sprintf(`{"kind":%q}`, kind))
	if err != nil {
		return b, err
	}
	if err := d.get(ctx, d.Members[d.rand.IntN(len(d.Members))].API+"/cluster/backups/"+o.Backup, &b); err != nil {
		return b, err
	}
	if b.State != fsm.BackupDone || b.Kind != kind || b.Head == 0 {
		return b, fmt.Errorf("the operation is done, and the catalogue says that %s, a %s up to block %d, is %s", b.ID, b.Kind, b.Head, b.State)
	}
	return b, nil
}

// operateTask does an operation on a backup to a good end; any member takes the request.
func (d *drill) operateTask(ctx context.Context, path, body string) (api.Operation, error) {
	ask := d.Members[d.rand.IntN(len(d.Members))]
	id, err := d.operate(ctx, ask, path, body)
	if err != nil {
		return api.Operation{}, err
	}
	return d.Operation(ctx, ask, id)
}

// task does what moves no production. It wants the holder's node left alone.
func (d *drill) task(ctx context.Context, what string, do func(context.Context, View, *Event) error) (Event, error) {
	return d.operation(ctx, what, taskTime, do, func(v View, m *Member, kept bool) error {
		if m.ID == v.Holder && !kept {
			return fmt.Errorf("the node of %s, which held, was restarted", m.ID)
		}
		return nil
	})
}
