package manager

import (
	"context"
	"fmt"
	"strings"

	"roundtable/logkey"
	"roundtable/node"
)

// Outcomes that a hook after an operation is told.
const (
	outcomeDone   = "done"
	outcomeFailed = "failed"
)

// before runs the operator's hook, once for an operation; where it fails, nothing was stopped.
func (v *vault) before(ctx context.Context, j *journal) error {
	hook := v.cfg().Backup.PreHook
	if hook == "" || j.Hooked {
		return nil
	}
	lines, err := v.runHook(ctx, hook, j, "")
	if err != nil {
		return fmt.Errorf("manager: nothing was stopped, for the hook failed: %w", err)
	}
	v.log.Info("the hook before an operation on a backup has run", "hook", hook, "said", strings.Join(lines, " | "))
	j.Hooked = true
	return v.save(j, "note the hook")
}

// after runs the operator's other hook, at most once for an operation whose first one could have run. That it fails undoes nothing: an
// alarm says so.
func (v *vault) after(ctx context.Context, j *journal, outcome string) {
	hook := v.cfg().Backup.PostHook
	if hook == "" || j.Over {
		return
	}
	j.Over = true
	if err := v.save(j, "note the last hook"); err != nil {
		v.log.Warn("a hook is not run", logkey.Err, err)
		return
	}
	lines, err := v.runHook(context.WithoutCancel(ctx), hook, j, outcome)
	if err != nil {
		v.log.Error("the hook after an operation on a backup failed", logkey.Err, err)
		v.home.alarm("backup", v.cfg().Manager.ID, fmt.Sprintf("the hook after %s %d failed: %v", j.Kind, j.Operation, err))
		return
	}
	v.log.Info("the hook after an operation on a backup has run", "hook", hook, "said", strings.Join(lines, " | "))
}

func (v *vault) runHook(ctx context.Context, hook string, j *journal, outcome string) ([]string, error) {
	c := v.cfg()
	ctx, cancel := context.WithTimeout(ctx, c.Backup.HookTimeout.D())
	defer cancel()
	return node.RunHook(ctx, hook, nil, []string{
		"ROUNDTABLE_KIND=" + j.Kind, fmt.Sprintf("ROUNDTABLE_OPERATION=%d", j.Operation), "ROUNDTABLE_BACKUP=" + j.Backup,
		"ROUNDTABLE_REPOSITORY=" + j.Repository, "ROUNDTABLE_MEMBER=" + c.Manager.ID, "ROUNDTABLE_HOME=" + c.Manager.Home,
		"ROUNDTABLE_DATA=" + c.Node.DataDir, "ROUNDTABLE_OUTCOME=" + outcome,
	})
}
