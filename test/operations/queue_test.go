package operations

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"roundtable/drill"
	"roundtable/test/box"
)

// TestOneAtATime: while a node is stopped by one operation no other that stops nodes begins: it is refused, or waits in the queue for
// as long as it was told to. One that is canceled ends after the member at work, and the next one begins by itself.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}).up()
	const held = "stop restart"
	for _, m := range b.Members {
		b.HoldAt(m, held)
	}
	nodes := b.Nodes()
	first := b.Order("/cluster/restart", box.Fields{"rolling": true, "limit": "3m"})
	var at *drill.Member
	b.Eventually(endTime, "the first member at work", func(context.Context) error {
		i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.Held(held) })
		if i < 0 {
			return fmt.Errorf("nobody is at %q", held)
		}
		at = b.Members[i]
		return nil
	})
	standby := b.Other(at.ID, b.View().Holder()).ID
	status, text, err := b.Ask(t.Context(), at, http.MethodPost, "/cluster/restart", box.Fields{"member": standby})
	if err != nil || status != http.StatusConflict || !strings.Contains(string(text), first) {
		t.Errorf("another restart meanwhile: %d %s %v", status, text, err)
	}
	status, text, err = b.Ask(t.Context(), at, http.MethodPost, "/cluster/handoff", box.Fields{"to": at.ID})
	if err != nil || status != http.StatusConflict || !strings.Contains(string(text), at.ID) {
		t.Errorf("a handoff to the one that is being restarted: %d %s %v", status, text, err)
	}
	impatient := b.Order("/cluster/restart", box.Fields{"member": standby, "queue": "1s", "limit": limit})
	patient := b.Order("/cluster/restart", box.Fields{"member": standby, "queue": "5m", "limit": limit})
	if o := b.End(impatient, endTime); o.Outcome == "done" || o.Reason == "" || o.Seconds > 5 {
		t.Errorf("what was to wait for a second is %s after %.1f s: %s", o.Outcome, o.Seconds, o.Reason)
	}
	if got := box.Changed(nodes, b.Nodes()); len(got) > 0 {
		t.Errorf("%v were restarted while the first one was held", got)
	}
	b.Send(http.MethodDelete, "/cluster/operations/"+first, nil, http.StatusAccepted, nil)
	for _, m := range b.Members {
		b.LetGo(m)
	}
	if o := b.End(first, endTime); o.Outcome != "canceled" || !slices.Equal(o.Done, []string{at.ID}) {
		t.Errorf("the canceled one is %s, through: %v: %s", o.Outcome, o.Done, o.Reason)
	}
	if o := b.End(patient, endTime); o.Outcome != "done" {
		t.Errorf("the one that waited is %s: %s", o.Outcome, o.Reason)
	}
	b.Whole()
	want := []string{at.ID, standby}
	slices.Sort(want)
	if got := box.Changed(nodes, b.Nodes()); !slices.Equal(got, want) {
		t.Errorf("%v were restarted, and not %v", got, want)
	}
	b.Judge(false)
}
