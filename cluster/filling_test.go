package cluster

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// TestDeny: while a member is filling it answers votes with no, each kind of them, and lets pass what fills it.
func TestDeny(t *testing.T) {
	filling := true
	tr := &transport{filling: func() bool { return filling }}
	for name, c := range map[string]struct {
		command any
		denied  bool
		check   func(raft.RPCResponse) bool
	}{
		"a vote": {&raft.RequestVoteRequest{Term: 7}, true, func(r raft.RPCResponse) bool {
			v, ok := r.Response.(*raft.RequestVoteResponse)
			return ok && r.Error == nil && !v.Granted && v.Term == 7
		}},
		"a vote before the vote": {&raft.RequestPreVoteRequest{Term: 7}, true, func(r raft.RPCResponse) bool {
			v, ok := r.Response.(*raft.RequestPreVoteResponse)
			return ok && r.Error == nil && !v.Granted && v.Term == 7
		}},
		"the leadership": {&raft.TimeoutNowRequest{}, true, func(r raft.RPCResponse) bool { return errors.Is(r.Error, errFilling) }},
		"entries":        {&raft.AppendEntriesRequest{}, false, nil},
		"a snapshot":     {&raft.InstallSnapshotRequest{}, false, nil},
	} {
		answer := make(chan raft.RPCResponse, 1)
		rpc := raft.RPC{Command: c.command, RespChan: answer}
		filling = true
		if tr.deny(rpc) != c.denied || c.denied && !c.check(<-answer) {
			t.Errorf("%s: denied must be %v", name, c.denied)
		}
		if filling = false; tr.deny(rpc) {
			t.Errorf("%s: denied by who has its log", name)
		}
	}
}
