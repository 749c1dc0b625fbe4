package operations

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"roundtable/drill"
)

// TestOneAtATime: while a node is stopped by one operation no other that stops nodes begins: it is refused, or waits in the queue for
// as long as it was told to. One that is canceled ends after the member at work, and the next one begins by itself.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}).up()
	const held = "stop restart"
	for _, m := range b.Members {
		b.hold(m, held)
	}
	nodes := b.nodes()
	first := b.begin("/cluster/restart", fields{"rolling": true, "limit": "3m"})
	var at *drill.Member
	b.eventually(endTime, "the first member at work", func(context.Context) error {
		i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.Held(held) })
		if i < 0 {
			return fmt.Errorf("nobody is at %q", held)
		}
		at = b.Members[i]
		return nil
	})
	standby := b.other(at.ID, b.overview().Holder()).ID
	status, text, err := b.ask(t.Context(), at, http.MethodPost, "/cluster/restart", fields{"member": standby})
	if err != nil || status != http.StatusConflict || !strings.Contains(string(text), first) {
		t.Errorf("another restart meanwhile: %d %s %v", status, text, err)
	}
	status, text, err = b.ask(t.Context(), at, http.MethodPost, "/cluster/handoff", fields{"to": at.ID})
	if err != nil || status != http.StatusConflict || !strings.Contains(string(text), at.ID) {
		t.Errorf("a handoff to the one that is being restarted: %d %s %v", status, text, err)
	}
	impatient := b.begin("/cluster/restart", fields{"member": standby, "queue": "1s", "limit": limit})
	patient := b.begin("/cluster/restart", fields{"member": standby, "queue": "5m", "limit": limit})
	if o := b.end(impatient, endTime); o.Outcome == "done" || o.Reason == "" || o.Seconds > 5 {
		t.Errorf("what was to wait for a second is %s after %.1f s: %s", o.Outcome, o.Seconds, o.Reason)
	}
	if got := changed(nodes, b.nodes()); len(got) > 0 {
		t.Errorf("%v were restarted while the first one was held", got)
	}
	b.send(http.MethodDelete, "/cluster/operations/"+first, nil, http.StatusAccepted, nil)
	for _, m := range b.Members {
		b.release(m)
	}
	if o := b.end(first, endTime); o.Outcome != "canceled" || !slices.Equal(o.Done, []string{at.ID}) {
		t.Errorf("the canceled one is %s, through: %v: %s", o.Outcome, o.Done, o.Reason)
	}
	if o := b.end(patient, endTime); o.Outcome != "done" {
		t.Errorf("the one that waited is %s: %s", o.Outcome, o.Reason)
	}
	b.settle()
	want := []string{at.ID, standby}
	slices.Sort(want)
	if got := changed(nodes, b.nodes()); !slices.Equal(got, want) {
		t.Errorf("%v were restarted, and not %v", got, want)
	}
	b.check(false)
}
