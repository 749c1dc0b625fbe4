package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"roundtable/meter"
)

// family is one metric's contract: its name, type and labels stay as they are; dashboards and alerts in deploy/ and those of
// operators rest on them. The help says what to do about it where there is something to do. docs/reference/metrics.md is
// written from these.
type family struct {
	name, kind, help string
	labels           []string
	desc             *prometheus.Desc
}

// families are all metrics of ours, in the order of the reference.
var families []*family

func declare(kind, name, help string, labels []string) *family {
	f := &family{name: name, kind: kind, help: help, labels: labels, desc: prometheus.NewDesc(name, help, labels, nil)}
	families = append(families, f)
	return f
}

const prefix = "roundtable_"

func gauge(name, help string, labels ...string) *family {
	return declare("gauge", prefix+name, help, labels)
}

func counter(name, help string, labels ...string) *family {
	return declare("counter", prefix+name, help, labels)
}

func histogram(name, help string, labels ...string) *family {
	return declare("histogram", prefix+name, help, labels)
}

func summary(name, help string, labels ...string) *family {
	return declare("summary", prefix+name, help, labels)
}

// plainGauge has a name without our prefix, which the tools before us gave it.
func plainGauge(name, help string, labels ...string) *family {
	return declare("gauge", name, help, labels)
}

// sample is where a scrape's values go.
type sample chan<- prometheus.Metric

// put gives a gauge or a counter its value.
func (out sample) put(f *family, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if f.kind == "counter" {
		kind = prometheus.CounterValue
	}
	out <- prometheus.MustNewConstMetric(f.desc, kind, value, labels...)
}

// count gives a counter its value.
func (out sample) count(f *family, n uint64, labels ...string) { out.put(f, float64(n), labels...) }

// mark gives a gauge 1 or 0.
func (out sample) mark(f *family, yes bool, labels ...string) {
	value := 0.0
	if yes {
		value = 1
	}
	out.put(f, value, labels...)
}

// spread gives a histogram its buckets.
func (out sample) spread(f *family, d meter.Distribution) {
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range d.Bounds {
		if i < len(d.Counts) {
			sum += d.Counts[i]
		}
		buckets[bound.Seconds()] = sum
	}
	out <- prometheus.MustNewConstHistogram(f.desc, d.Count, d.Sum.Seconds(), buckets)
}

// total gives a summary its count and sum.
func (out sample) total(f *family, n uint64, sum float64, labels ...string) {
	out <- prometheus.MustNewConstSummary(f.desc, n, sum, nil, labels...)
}

var (
	famBuild  = gauge("build_info", "The program's version; always 1. More than one version for long: an upgrade of ours was not finished.", "version")
	famMember = gauge("member_info", "Which member this is, of which cluster; always 1.", "id", "cluster")

	famEpoch       = gauge("lease_epoch", "Epoch of the slot lease; each grant and handoff adds one. A member that stays behind the others is cut off or its disk hangs.")
	famHeld        = gauge("lease_held", "1 while somebody may sign for the slot now, as this member knows it. 0 at every member: nobody produces; run: roundtable status.")
	famHolder      = gauge("lease_holder", "1 for the member that holds an open lease.", "id")
	famSlotsLeft   = gauge("lease_slots_left", "Slots of the lease after the slot now; negative when it is used up: then look for a leader, and at the holder.")
	famExtensions  = counter("lease_extensions_total", "Extensions of the lease that this member got committed: one or two a second while it holds.")
	famUnextended  = counter("lease_extension_failures_total", "Extensions of this member that were not committed within a slot. A steady rate: look at raft_apply_seconds, at the leader's disk and at the network.")
	famExtend      = histogram("lease_extend_seconds", "Time from an extension's proposal to its being applied here. Near 0.5 s the lease is at risk: look at the leader's disk and at the network.")
	famLeaseRefuse = counter("lease_refused_total", "Proposals of this member that a rule of the lease refused. A few around a change of hands are its rules at work; a steady rate is a fault to report.", "rule")
	famChanges     = counter("lease_changes_total", "Changes of the lease since this manager started: grant, transfer, release; failover counts those of the grants that followed a holder that had not released.", "kind")
	famAlarms      = counter("alarms_total", "Alarms written into the history since this manager started; see: roundtable history.")

	famGateOpen    = gauge("gate_open", "1 while the gate may sign: on the holder, and on nobody else.")
	famGateSealed  = gauge("gate_sealed", "1 when the gate is closed until this manager is started again: a block that it did not sign, or a jump of the clock. Find the reason first: roundtable status.")
	famSignatures  = counter("gate_signatures_total", "Signatures given.")
	famRefused     = counter("gate_refused_total", "Signing requests refused. no_lease and closed around a change of hands are the fence at work; signer_error: look at the signer; others: see docs/reference/errors.md.", "reason")
	famSignSeconds = histogram("gate_sign_seconds", "Time from a signing request to its signature. nodeos gives up after 0.4 s; above 0.1 s look at the signer.")
	famMismatches  = counter("gate_mismatches_total", "Blocks that the node told of and that are not what this gate signed.")

	famDue     = counter("slots_due_total", "Slots of ours in finished windows since this manager started.")
	famSigned  = counter("slots_signed_total", "Slots of ours with a block on the chain since this manager started.")
	famMissed  = counter("slots_missed_total", "Slots of ours without a block on the chain since this manager started. Any: run roundtable history for what happened at that time.")
	famDoubled = counter("slots_doubled_total", "Blocks of ours that this member saw and this cluster did not sign, or signed differently. Any: somebody else has the key; stop whatever else signs, at once.")

	famLeader      = gauge("raft_leader", "1 while this member leads.")
	famKnowsLeader = gauge("raft_leader_known", "1 while a leader is known here. 0 everywhere: no majority reaches each other, and nothing can be changed.")
	famTerm        = gauge("raft_term", "Raft's term: each election adds one.")
	famVoters      = gauge("raft_voters", "Members with a vote, as this member knows the configuration.")
	famVotersAlive = gauge("raft_voters_alive", "Members with a vote that gossip holds for alive. A majority of the voters must be.")
	famCommit      = gauge("raft_commit_index", "Index of the last committed entry known here.")
	famApplied     = gauge("raft_applied_index", "Index of the last entry applied here. Far behind the commit index: this member's disk or processor cannot keep up.")
	famContact     = gauge("raft_last_contact_seconds", "Time since the leader was heard; 0 on the leader.")
	famStall       = gauge("raft_disk_stall", "1 while this member's disk does not answer. Look at the disk of its home; it gives up its roles by itself.")
	famElections   = counter("raft_elections_total", "Leaderships of this member since it started.")
	famCanary      = counter("raft_canary_errors_total", "Test writes that this member's disk failed: it is full or broken.")
	famProposals   = counter("raft_proposals_total", "Commands proposed by this member.")
	famForwarded   = counter("raft_forwarded_total", "Commands of this member that were sent to a leader.")
	famHandshakes  = counter("raft_handshakes_refused_total", "TLS handshakes at this member's raft port that were refused, by what was wrong with the certificate. Any: somebody who is no member tries, or a member's certificate has ended.", "reason")
	famRaftRefused = counter("raft_refused_total", "Commands of this member that the state refused.")
	famApply       = histogram("raft_apply_seconds", "Time from appending an entry here, on the leader, to its being applied: two disks and a round trip. Above 0.1 s look at the disks.")

	famOperations = counter("operations_total", "Operations that ended since this manager started; see: roundtable operations.", "kind", "outcome")
	famOpSeconds  = summary("operation_seconds", "How long ended operations took.", "kind")
	famRunning    = gauge("operations_running", "Operations under way, those that wait for something as well.", "kind")
	famOpPercent  = gauge("operation_percent", "How far the oldest operation under way is, 0 to 100; 0 where there is none.", "kind")
	famOpAge      = gauge("operation_age_seconds", "How long the oldest operation under way has been at work; the time that it waits for its turn, a block or a feature does not count. Beyond an hour: roundtable operations says where it is.", "kind")

	famBackups        = gauge("backups", "Backups in the catalogue, by state. Any damaged: they are restored by nobody; make new ones, and look at the store.", "repository", "kind", "state")
	famBackupLast     = gauge("backup_last_success_timestamp_seconds", "When the newest good backup of a kind was done, Unix time; 0: there is none, though a plan is to make it. Older than you can afford to sync: roundtable backup list, and roundtable operations, say why.", "repository", "kind")
	famBackupVerified = gauge("backup_last_verified_timestamp_seconds", "When a good backup of a kind was last found whole, Unix time; 0: never. Add a plan that verifies: roundtable plan add.", "repository", "kind")
	famBackupBytes    = gauge("backup_bytes", "The newest good backup of a kind: size, which its files seem to have, data, without their holes, and stored, which it added to the repository.", "repository", "kind", "what")
	famBackupStored   = gauge("backup_stored_bytes", "What the good backups of a kind added to the repository together.", "repository", "kind")
	famBackupSeconds  = gauge("backup_seconds", "How long the newest good backup of a kind took.", "repository", "kind")
	famPlanDue        = gauge("plan_due_timestamp_seconds", "When a plan is due next, Unix time; not there for one that is switched off or comes by blocks. Long past: roundtable plan show says what is in its way.", "plan", "action")
	famPlanFired      = gauge("plan_fired_timestamp_seconds", "When a plan began last, Unix time; 0: never.", "plan", "action")
	famPlanFirings    = counter("plan_firings_total", "How often a plan began, as the cluster counts.", "plan", "action")
	famPlanSkipped    = counter("plan_skipped_total", "How often a plan was due and was left out, as the cluster counts; roundtable plan show says why.", "plan", "action")
	famPlanFailing    = gauge("plan_failing", "1 while what a plan began last failed; see: roundtable operations.", "plan", "action")

	famUp          = gauge("member_up", "1 for a member that gossip holds for alive.", "id")
	famFit         = gauge("member_fit", "1 for a member that could be given the lease. 0: roundtable status says why.", "id")
	famOffset      = gauge("clock_offset_seconds", "Clock of a member against the median, by its own report. Beyond 0.5 s it can neither hold nor lead: mend its time synchronisation.", "id")
	famMaintenance = gauge("maintenance", "1 while the cluster is in maintenance: the lease does not move by itself, not even from a dead holder.")
	famMaintained  = gauge("member_maintenance", "1 for a member in maintenance: it is not chosen.", "id")

	famNodeInfo    = gauge("member_node_info", "Which version of nodeos a member runs, as nodeos says; always 1. More than one version for long: an upgrade was not finished.", "id", "version")
	famConfigWaits = gauge("member_config_waits", "1 for a member whose node waits to be restarted with another config.ini: roundtable rollout brings it to all.", "id")

	famNodeUp       = gauge("node_up", "1 while the node runs and answers.")
	famNodeState    = gauge("node_state", "1 for the state that the node is in. failed: it ended too often and stays down; the manager's log has its last words.", "state")
	famNodeHead     = gauge("node_head", "Number of the node's head block.")
	famNodeLIB      = gauge("node_lib", "Number of the node's last irreversible block.")
	famNodeLag      = gauge("node_lag", "Slots that the node's head is behind the best head of a live member. More than 2: it is no candidate; look at its peers and disk.")
	famNodePeers    = gauge("node_peers", "Connected p2p peers of the node.")
	famNodePaused   = gauge("node_paused", "1 while the node's production is paused, as it is on everybody but the holder.")
	famNodeStarts   = counter("node_starts_total", "Starts of the node since this manager started.")
	famNodeRestarts = counter("node_restarts_total", "Starts of the node after an end that nobody asked for. Any: the manager's log has the cause.")
	famLogLines     = counter("node_log_lines_total", "Lines that the node logged, by their level; none for those without one.", "level")
	famLogUnknown   = counter("node_log_unknown_total", "Lines of the node in no known format. Many of them after an upgrade of nodeos: it speaks differently, and what is read from its log may be missing.")
	famLogDropped   = counter("node_log_dropped_total", "Lines of the node that did not reach the manager's log since writing it was too slow.")

	famHeadNumber = plainGauge("head_block_number", "Number of the node's head block.")
	famHeadDrift  = plainGauge("head_block_time_drift", "Seconds that the head block's time is behind the clock; grows while no block comes.")
	famReady      = plainGauge("ready", "1 while this manager is a member, knows the leader and its node runs, as /health/ready says.")
	famOldPeers   = plainGauge("nodeos_connected_peers_total", "Connected p2p peers of the node. (A gauge in spite of its name, which other tools gave it.)")
	famDBSize     = plainGauge("nodeos_db_size_info_bytes", "The node's state database: size, used, free, reclaimable. Raise chain-state-db-size-mb before free comes to an end: nodeos stops there.", "metric")
	famProducing  = plainGauge("nodeos_is_block_producer", "1 while the node runs with its production not paused.")

	famOldBackups = plainGauge("successful_backups", "Backups of this cluster that were done since this manager started.")

	famRequests   = counter("api_requests_total", "Requests answered, by route and status.", "route", "code")
	famAPISeconds = histogram("api_request_seconds", "Time to answer a request; event streams are left out, and what waits for an operation takes its time.", "route")
	famAPIRefused = counter("api_refused_total", "Requests refused before they were looked at. no_token and bad_token: somebody tries; rate: a client asks too often.", "reason")
	famStreams    = gauge("api_event_streams", "Open streams of events.")

	famCertificate = gauge("certificate_expiry_seconds", "Time until a certificate of this member ends; it renews its own when a third is left. Below two weeks: it cannot reach a member with the CA's key.", "certificate")
)
