package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

func (n *Node) pauseAtBlock(body []byte) response {
	var q struct {
		Num uint32 `json:"block_num"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return failure(400, "Invalid Request", 3200006, "invalid_http_request", "invalid http request",
			httpDetail{"Unable to parse valid input from POST body", "http_plugin.hpp", 278, "parse_params"})
	}
	if head := n.chain.head.num; q.Num <= head {
		return failure(500, "Internal Service Error", 3170017, "invalid_pause_at_block_request", "Invalid pause at block request",
			httpDetail{fmt.Sprintf("Pause at block %d <= chain head %d", q.Num, head), "producer_plugin.cpp", 1183, "pause_at_block"})
	}
	n.log.log(logProducer, levelInfo, prodSite(1186, "pause_at_block"), "Set pause at block #%d", q.Num)
	n.chain.limit = q.Num
	return ok201(resultOK)
}

// createSnapshot answers when the snapshot's block is irreversible, on the connection's goroutine.
func (n *Node) createSnapshot([]byte) response {
	answer := make(chan response, 1)
	n.post(func() {
		n.snaps.create(func(at *node, err error) {
			var exists errSnapshotExists
			if errors.As(err, &exists) {
				answer <- failure(500, "Internal Service Error", 3170008, "snapshot_exists_exception", "snapshot already exists",
					httpDetail{err.Error(), "snapshot_scheduler.cpp", 190, "create_snapshot"})
				return
			}
			if err != nil {
				answer <- failure(500, "Internal Service Error", 3240000, "snapshot_exception", "Snapshot exception",
					httpDetail{err.Error(), "producer_plugin.cpp", 1950, "create_snapshot"})
				return
			}
			answer <- ok201(fmt.Sprintf(`{"head_block_id":"%s","head_block_num":%d,"head_block_time":"%s","version":8,"snapshot_name":%s}`,
				at.id, at.num, slotTime(at.block.Slot), quoteJSON(n.snapshotPath(at.id, ""))))
		})
	})
	select {
	case r := <-answer:
		return r
	case <-n.ending:
		return response{}
	}
}

func (n *Node) scheduleSnapshot(body []byte) response {
	next := n.chain.head.num + 1
	q := struct {
		Spacing     uint32  `json:"block_spacing"`
		Start       *uint32 `json:"start_block_num"`
		End         *uint32 `json:"end_block_num"`
		Description string  `json:"snapshot_description"`
	}{}
	if len(body) > 0 && json.Unmarshal(body, &q) != nil {
		return failure(400, "Invalid Request", 3200006, "invalid_http_request", "invalid http request",
			httpDetail{"Unable to parse valid input from POST body", "http_plugin.hpp", 278, "parse_params"})
	}
	r := &snapshotRequest{Spacing: q.Spacing, Start: next, End: math.MaxUint32, Description: q.Description}
	if q.Start != nil {
		r.Start = *q.Start
	}
	if q.End != nil {
		r.End = *q.End
	}
	bad := func(code int64, name, what, message string, line int) response {
		return failure(500, "Internal Service Error", code, name, what, httpDetail{message, "snapshot_scheduler.cpp", line, "schedule_snapshot"})
	}
	if r.End < r.Start {
		return bad(3170015, "invalid_snapshot_request", "Invalid snapshot request", "End block number should be greater or equal to start block number", 72)
	}
	for _, o := range n.snaps.asked {
		if o.same(r) {
			return bad(3170013, "duplicate_snapshot_request", "Snapshot has been already scheduled with specified parameters", "Duplicate snapshot request", 71)
		}
	}
	r.ID = n.snaps.nextID
	n.snaps.nextID++
	n.snaps.asked = append(n.snaps.asked, r)
	return ok201(snapshotJSON(r, ""))
}

func snapshotJSON(r *snapshotRequest, extra string) string {
	return fmt.Sprintf(`{"snapshot_request_id":%d,"block_spacing":%d,"start_block_num":%d,"end_block_num":%d,"snapshot_description":%s%s}`,
		r.ID, r.Spacing, r.Start, r.End, quoteJSON(r.Description), extra)
}

func (n *Node) unscheduleSnapshot(body []byte) response {
	var q struct {
		ID int `json:"snapshot_request_id"`
	}
	if json.Unmarshal(body, &q) != nil {
		q.ID = -1
	}
	for i, r := range n.snaps.asked {
		if r.ID == q.ID {
			n.snaps.asked = append(n.snaps.asked[:i:i], n.snaps.asked[i+1:]...)
			return ok201(snapshotJSON(r, ""))
		}
	}
	return failure(500, "Internal Service Error", 3170014, "snapshot_request_not_found", "Snapshot request not found",
		httpDetail{"Snapshot request not found", "snapshot_scheduler.cpp", 85, "unschedule_snapshot"})
}

func (n *Node) getSnapshotRequests([]byte) response {
	parts := make([]string, len(n.snaps.asked))
	for i, r := range n.snaps.asked {
		parts[i] = snapshotJSON(r, `,"pending_snapshots":[]`)
	}
	return ok201(`{"snapshot_requests":[` + strings.Join(parts, ",") + `]}`)
}

// metrics is a small part of what prometheus_plugin shows.
func (n *Node) metrics() string {
	var b strings.Builder
	line := func(name, kind, help string, value any) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", name, help, name, kind, name, value)
	}
	b.WriteString("# HELP nodeos_http_requests_total number of HTTP requests\n# TYPE nodeos_http_requests_total counter\n")
	n.http.mu.Lock()
	for path, count := range n.http.counts {
		fmt.Fprintf(&b, "nodeos_http_requests_total{handler=%q} %d\n", path, count)
	}
	n.http.mu.Unlock()
	info := n.info.Load()
	line("nodeos_blocks_produced", "counter", "number of blocks produced", n.produced.Load())
	line("nodeos_head_block_num", "gauge", "head block number", info.head.num)
	line("nodeos_last_irreversible", "gauge", "last irreversible block number", info.lib.num)
	line("nodeos_p2p_connections", "gauge", "open p2p connections", len(n.net.peers()))
	return b.String()
}

// control serves the double's own switches. All take query-like bodies: plain words separated by spaces.
//
//	/sim/cut   AGENT [in|out]   interrupt the link to a peer ("*" is everybody)
//	/sim/heal  AGENT [in|out]   mend it
//	/sim/hang  DURATION         block the main thread, as a slow disk would
//	/sim/exit                   end at once without cleaning up, as SIGKILL would
func (n *Node) control(all map[string]handler) {
	cut := func(on bool) func([]byte) response {
		return func(body []byte) response {
			f := strings.Fields(string(body))
			if len(f) == 0 {
				return failure(400, "Invalid Request", 0, "sim", "a peer's agent name is needed")
			}
			n.net.cuts.set(f[0], strings.Join(f[1:], ""), on)
			return ok200(resultOK)
		}
	}
	all["/sim/cut"] = handler{"sim", anyParams, cut(true)}
	all["/sim/heal"] = handler{"sim", anyParams, cut(false)}
	all["/sim/hang"] = handler{"sim", anyParams, func(body []byte) response {
		d, err := time.ParseDuration(string(body))
		if err != nil {
			return failure(400, "Invalid Request", 0, "sim", "a duration is needed")
		}
		n.post(func() { stall(d) })
		return ok200(resultOK)
	}}
	all["/sim/exit"] = handler{"sim", anyParams, func([]byte) response { kill(); return response{} }}
}
