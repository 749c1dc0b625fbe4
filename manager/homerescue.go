package manager

import (
	"context"

	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// rescue gives a node that cannot start what lies there now: it has nothing to lose, and there may be nobody who could roll it out. It
// never does for a member that holds the lease or whose node an operation is at.
func (h *home) rescue(ctx context.Context, s *fsm.State) {
	if h.supervisor == nil {
		return
	}
	st, me := h.supervisor.Status(), h.cfg().Manager.ID
	hash := h.hope(st)
	if _, busy := s.Working(me); hash == "" || busy || s.Lease.Open() && s.Lease.Holder == me || !h.turning.TryLock() {
		return
	}
	defer h.turning.Unlock()
	v, conf, err := h.next("", hash)
	if err == nil {
		h.log.Warn("the node cannot start: it is given the configuration that lies there", "config", hash, logkey.Reason, st.Reason)
		err = h.supervisor.Stop(ctx) // of its tries
	}
	if err == nil {
		err = h.turn(v, conf)
	}
	h.launch()
	if err != nil {
		h.mu.Lock()
		h.complains("the node cannot start, and nothing else can be tried: " + wrong(err))
		h.mu.Unlock()
	}
}

// hope is the configuration that a node which cannot start is to be given, "" for none: the one that lies there, where that came when
// the node could not start, or where no node ever was up with the adopted one; or the adopted one, which another member's key kept from
// being started. It never is one that failed here before.
func (h *home) hope(st node.Status) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st.State == node.StateRunning {
		h.late, h.barred = "", false
		if err := h.configs.note(func(k *kept) { k.Worked = h.seen.Load().view.Config }); err != nil {
			h.log.Warn("with which configuration the node is up is not kept", logkey.Err, err)
		}
		return ""
	}
	switch lies, k := h.lies, h.configs.kept; {
	case !cannotStart(st), lies == k.Refused:
	case lies == k.Adopted && h.barred:
		h.barred = false // prepare says if it still is
		return lies
	case lies != k.Adopted && (lies == h.late || k.Worked != k.Adopted):
		return lies
	}
	return ""
}

// cannotStart reports whether a node is down for what it was started with, or will not be started again. A dirty state is no configuration's
// fault: no other one helps.
func cannotStart(st node.Status) bool {
	if st.LastExit != nil && st.LastExit.Dirty() {
		return false
	}
	return st.State == node.StateFailed || st.State == node.StateBackoff && st.LastExit != nil && st.LastExit.AtStart()
}

// launch gives the order to start the node, and does not wait for what comes of it.
func (h *home) launch() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.supervisor.Start(ctx) // the order stands
}
