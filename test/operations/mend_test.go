package operations

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/box"
)

// allUp reports an error until every member's manager and node run.
func (b *sandbox) allUp(context.Context) error {
	for _, m := range b.Members {
		if _, err := b.NodePID(m); err != nil || !m.Running() {
			return fmt.Errorf("%s: manager runs: %v, node: %w", m.ID, m.Running(), err)
		}
	}
	return nil
}

// powerCycle ends all processes at once, and starts the managers.
func (b *sandbox) powerCycle() {
	b.T.Helper()
	if err := b.Kill(); err != nil {
		b.T.Fatal(err)
	}
	for _, m := range b.Members {
		if err := b.StartMember(m); err != nil {
			b.T.Fatal(err)
		}
	}
}

// TestPowerCycle: the power fails everywhere while a configuration waits that no node starts with.
func TestPowerCycle(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	for _, m := range b.Members {
		if err := os.Mkdir(filepath.Dir(template(m)), 0o700); err != nil {
			t.Fatal(err)
		}
		box.Write(t, template(m), "")
	}
	b.Configure(func(m *drill.Member) string { return fmt.Sprintf("config_template = %q\n", template(m)) },
		func(*drill.Member) string { return upgrades(`rollout = "manual"`) })
	b.up()
	t.Run("an overlay that is not proved is not taken", func(t *testing.T) {
		b := b.in(t)
		b.patch(box.Fields{"overlay": "no-such-option-at-all = 1\n"})
		b.Eventually(20*time.Second, "the members know of it", func(context.Context) error {
			for _, m := range b.Members {
				text, err := os.ReadFile(filepath.Join(m.Home, "configs", "kept.json"))
				if err != nil || !strings.Contains(string(text), "no-such-option") {
					return fmt.Errorf("%s does not: %w", m.ID, err)
				}
			}
			return nil
		})
		b.powerCycle()
		b.Eventually(time.Minute, "all nodes run", b.allUp)
		if ids := b.has("no-such-option-at-all"); len(ids) > 0 {
			t.Errorf("%v were started with what nobody proved", ids)
		}
		b.patch(box.Fields{"overlay": ""})
	})
	t.Run("templates that their operators mend", func(t *testing.T) {
		b := b.in(t)
		for _, m := range b.Members {
			rename(t, template(m), "no-such-option-at-all = 1\n")
		}
		b.powerCycle()
		b.Eventually(time.Minute, "each was started with its own template", func(context.Context) error {
			if ids := b.has("no-such-option-at-all"); len(ids) < len(b.Members) {
				return fmt.Errorf("only %v", ids)
			}
			return nil
		})
		for _, m := range b.Members {
			rename(t, template(m), "net-threads = 3\n")
		}
		b.Eventually(2*time.Minute, "all nodes run", b.allUp)
		if ids := b.has("net-threads = 3"); len(ids) < len(b.Members) {
			t.Errorf("only %v have it", ids)
		}
		b.Seen("somebody produces", func(o drill.Overview) bool { return o.Holder() != "" })
	})
}

// TestOneFinalizerKeyOnTwoNodes: a template with a finalizer key is copied. No manager ends for it, and one node at most has the key.
func TestOneFinalizerKeyOnTwoNodes(t *testing.T) {
	t.Parallel()
	b := withTemplates(t)
	// The stand-in knows no BLS keys.
	script := tell(now) + fmt.Sprintf("cp \"$2/config.ini\" \"$2/config.was\"\nsed -i '/PUB_BLS/d' \"$2/config.ini\"\nexec '%s' --sim-version %s \"$@\"\n", filepath.Join(built, "simnodeos"), now)
	for _, m := range b.Members {
		if err := os.RemoveAll(filepath.Join(m.Home, "versions", "genesis")); err != nil {
			t.Fatal(err)
		}
		b.lay(m, "genesis", script)
	}
	b.up()
	holder := b.View().Holder()
	for _, m := range b.Members {
		if m.ID != holder {
			rename(t, template(m), "signature-provider = PUB_BLS_aaaa=KEY:PVT_BLS_bbbb\n")
		}
	}
	o := b.rolled(0)
	if text := box.Told(o); !strings.Contains(text, "PUB_BLS_aaaa is the finalizer key of ") || strings.Contains(text, "PVT_BLS") {
		t.Errorf("the rollout: %s", text)
	}
	b.powerCycle()
	b.Eventually(time.Minute, "all nodes run", b.allUp)
	var with []string
	for _, m := range b.Members {
		_ = filepath.WalkDir(m.Home, func(path string, _ os.DirEntry, err error) error {
			if err == nil && filepath.Base(path) == "config.was" {
				if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "PUB_BLS_aaaa") {
					with = append(with, m.ID)
				}
			}
			return nil
		})
	}
	if len(with) != 1 {
		t.Errorf("%v have the key", with)
	}
}

// TestBrokenLink: the link to the current version leads nowhere when a manager starts. The cluster mends it, or an upgrade does.
func TestBrokenLink(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	b.up()
	m := b.Other(b.View().Holder())
	link := filepath.Join(m.Home, "current")
	if err := b.KillManager(m); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(link), os.Symlink("versions/v9.9.9", link)); err != nil {
		t.Fatal(err)
	}
	if err := b.StartMember(m); err != nil {
		t.Fatal(err)
	}
	b.Eventually(2*time.Minute, "it is mended", func(ctx context.Context) error {
		if err := b.allUp(ctx); err == nil {
			return nil
		}
		status, text, err := b.Ask(ctx, b.Running(), http.MethodPost, "/cluster/upgrade", box.Fields{"tag": next, "members": []string{m.ID}})
		return fmt.Errorf("%d %s %w", status, text, err)
	})
	if !m.Running() {
		t.Error("its manager has ended")
	}
}
