package observe

import (
	"fmt"
	"strings"
)

// series are samples by name and labels, in promtool's notation: "1x20" is 1 and twenty more like it, "0+2x20" grows.
type series map[string]string

// forever is longer than any case.
const forever = "x400"

// each is one series for each member's instance.
func (s series) each(name, labels, values string) {
	for _, m := range []string{"m1", "m2", "m3"} {
		s.one(m, name, labels, values)
	}
}

// one is a series of one member's instance.
func (s series) one(member, name, labels, values string) {
	if labels != "" {
		labels = "," + labels
	}
	s[fmt.Sprintf(`%s{job="roundtable",cluster="c",instance="%s:9080"%s}`, name, member, labels)] = values
}

// seen is one series of each instance about each member.
func (s series) seen(name string, values func(by, id string) string) {
	for _, by := range []string{"m1", "m2", "m3"} {
		for _, id := range []string{"m1", "m2", "m3"} {
			s.one(by, name, `id="`+id+`"`, values(by, id))
		}
	}
}

func always(v string) func(string, string) string {
	return func(string, string) string { return v + forever }
}

// The labels of a kind of backups in a repository, and of a plan.
const (
	of      = `repository="default",kind="data"`
	nightly = `plan="nightly",action="backup"`
)

// healthy is a cluster where all is well: m1 holds, m2 leads.
func healthy() series {
	s := series{}
	for _, name := range []string{"up", "roundtable_lease_held", "roundtable_raft_leader_known", "roundtable_node_up"} {
		s.each(name, "", "1"+forever)
	}
	for _, name := range []string{
		"roundtable_slots_doubled_total", "roundtable_slots_missed_total", "roundtable_gate_sealed", "roundtable_maintenance", "roundtable_raft_disk_stall",
		"roundtable_raft_canary_errors_total", "roundtable_node_lag", "roundtable_node_restarts_total", "roundtable_node_log_unknown_total",
	} {
		s.each(name, "", "0"+forever)
	}
	s.each("roundtable_raft_voters", "", "3"+forever)
	s.each("roundtable_raft_voters_alive", "", "3"+forever)
	s.each("roundtable_raft_elections_total", "", "1"+forever)
	s.each("process_start_time_seconds", "", "1000"+forever)
	s.each("roundtable_node_state", `state="failed"`, "0"+forever)
	s.each("roundtable_node_state", `state="running"`, "1"+forever)
	s.each("roundtable_gate_refused_total", `reason="no_lease"`, "3"+forever)
	s.each("roundtable_gate_refused_total", `reason="client_gone"`, "0+1"+forever)
	s.each("roundtable_api_refused_total", `reason="no_token"`, "3"+forever)
	s.each("roundtable_certificate_expiry_seconds", `certificate="member"`, fmt.Sprint(60*86400)+forever)
	s.each("nodeos_db_size_info_bytes", `metric="size"`, "1000"+forever)
	s.each("nodeos_db_size_info_bytes", `metric="free"`, "900"+forever)
	for _, kind := range []string{"grant", "transfer", "release", "failover"} {
		s.each("roundtable_lease_changes_total", `kind="`+kind+`"`, "2"+forever)
	}
	for _, le := range []string{"0.05", "0.1", "0.2", "0.5", "+Inf"} {
		s.each("roundtable_gate_sign_seconds_bucket", `le="`+le+`"`, "0+2"+forever)
	}
	for _, kind := range []string{"handoff", "restart", "upgrade", "rollout", "backup", "restore", "verify", "sweep", "scan"} {
		s.each("roundtable_operation_age_seconds", `kind="`+kind+`"`, "0"+forever)
		for _, outcome := range []string{"done", "failed", "canceled", "expired"} {
			s.each("roundtable_operations_total", fmt.Sprintf("kind=%q,outcome=%q", kind, outcome), "0"+forever)
		}
	}
	s.each("roundtable_backup_last_success_timestamp_seconds", of, "0+5"+forever) // time begins at 0 in these cases
	s.each("roundtable_backup_last_verified_timestamp_seconds", of, "0+5"+forever)
	for _, state := range []string{"running", "done", "damaged", "failed", "expired"} {
		s.each("roundtable_backups", of+fmt.Sprintf(",state=%q", state), map[bool]string{true: "3", false: "0"}[state == "done"]+forever)
	}
	s.each("roundtable_plan_due_timestamp_seconds", nightly, "10000000"+forever)
	s.each("roundtable_plan_skipped_total", nightly, "2"+forever)
	s.each("roundtable_build_info", `version="v1"`, "1"+forever)
	for _, by := range []string{"m1", "m2", "m3"} {
		for _, id := range []string{"m1", "m2", "m3"} {
			s.one(by, "roundtable_member_node_info", fmt.Sprintf("id=%q,version=%q", id, "v1.2.2"), "1"+forever)
		}
	}
	s.seen("roundtable_member_config_waits", always("0"))
	s.seen("roundtable_member_up", always("1"))
	s.seen("roundtable_member_fit", always("1"))
	s.seen("roundtable_member_maintenance", always("0"))
	s.seen("roundtable_clock_offset_seconds", always("0.01"))
	s.seen("roundtable_lease_holder", func(_, id string) string {
		if id == "m1" {
			return "1" + forever
		}
		return "0" + forever
	})
	return s
}

// ruleCase is a cluster that is well for a minute (12 samples at 5 s), and then is not. At quiet nothing fires yet; at the
// end these do, with their severities, and nothing else.
type ruleCase struct {
	name  string
	step  string // between samples; "": 5s
	turn  func(s series)
	quiet string
	end   string
	fires []string // "Name/severity"
}

var ruleCases = []ruleCase{
	{name: "all is well", turn: func(series) {}, quiet: "1m", end: "20m"},
	{
		name: "doubled", quiet: "55s", end: "1m5s", fires: []string{"DoubleSigned/critical"},
		turn: func(s series) { s.one("m2", "roundtable_slots_doubled_total", "", "0x11 1"+forever) },
	},
	{
		name: "doubled, and started again", quiet: "55s", end: "30m", fires: []string{"DoubleSigned/critical"},
		turn: func(s series) { s.one("m2", "roundtable_slots_doubled_total", "", "0x11 1x5 0"+forever) },
	},
	{
		name: "sealed", quiet: "55s", end: "1m5s", fires: []string{"GateSealed/critical"},
		turn: func(s series) { s.one("m2", "roundtable_gate_sealed", "", "0x11 1"+forever) },
	},
	{
		name: "no lease", quiet: "1m5s", end: "1m15s", fires: []string{"NobodySigns/critical"},
		turn: func(s series) { s.each("roundtable_lease_held", "", "1x11 0"+forever) },
	},
	{
		name: "one that is cut off knows of no lease, leader or member", quiet: "55s", end: "30m",
		turn: func(s series) {
			s.one("m3", "roundtable_lease_held", "", "1x11 0"+forever)
			s.one("m3", "roundtable_raft_leader_known", "", "1x11 0"+forever)
			s.one("m3", "roundtable_member_up", `id="m1"`, "1x11 0"+forever)
			s.one("m3", "roundtable_member_up", `id="m2"`, "1x11 0"+forever)
			s.one("m3", "roundtable_member_fit", `id="m1"`, "1x11 0"+forever)
			s.one("m3", "roundtable_member_fit", `id="m2"`, "1x11 0"+forever)
			s.one("m3", "roundtable_raft_voters_alive", "", "3x11 1"+forever)
		},
	},
	{
		name: "nobody can be asked", quiet: "1m5s", end: "30m", fires: []string{"NobodySigns/critical", "ScrapeDown/warning"},
		turn: func(s series) {
			for name := range s {
				s[name] = "_" + forever
			}
			s.each("up", "", "1x11 0"+forever)
			s.each("roundtable_lease_held", "", "1x11 stale")
		},
	},
	{
		name: "a failover", quiet: "55s", end: "1m5s", fires: []string{"SlotsMissed/warning"},
		turn: func(s series) { s.each("roundtable_slots_missed_total", "", "0x11 5"+forever) },
	},
	{
		name: "a while after a failover", quiet: "55s", end: "12m", turn: func(s series) { s.each("roundtable_slots_missed_total", "", "0x11 5"+forever) },
	},
	{
		name: "misses without an end", quiet: "55s", end: "3m", fires: []string{"SlotsMissed/critical", "SlotsMissed/warning"},
		turn: func(s series) { s.each("roundtable_slots_missed_total", "", "0x11 0+2"+forever) },
	},
	{
		name: "hands change", quiet: "1m20s", end: "2m", fires: []string{"LeaseFlapping/warning"},
		turn: func(s series) { s.each("roundtable_lease_changes_total", `kind="grant"`, "2x11 2+1x9 12"+forever) },
	},
	{
		name: "a rolling restart", quiet: "1m20s", end: "5m",
		turn: func(s series) {
			s.each("roundtable_lease_changes_total", `kind="transfer"`, "2x11 3x20 4"+forever)
			s.one("m1", "process_start_time_seconds", "", "1000x11 2000"+forever)
			s.one("m2", "process_start_time_seconds", "", "1000x23 3000"+forever)
			s.one("m2", "roundtable_raft_elections_total", "", "1x23 0x2 1"+forever)
		},
	},
	{
		name: "an upgrade that fails", quiet: "55s", end: "1m20s", fires: []string{"OperationFailed/warning"},
		turn: func(s series) {
			s.each("roundtable_operations_total", `kind="upgrade",outcome="failed"`, "0x11 1"+forever)
		},
	},
	{
		name: "a while after a restart that expired", quiet: "55s", end: "20m",
		turn: func(s series) {
			s.each("roundtable_operations_total", `kind="restart",outcome="expired"`, "0x11 1"+forever)
		},
	},
	{
		name: "a handoff that fails, and an upgrade that is canceled", quiet: "55s", end: "5m",
		turn: func(s series) {
			s.each("roundtable_operations_total", `kind="handoff",outcome="failed"`, "0x11 1"+forever)
			s.each("roundtable_operations_total", `kind="upgrade",outcome="canceled"`, "0x11 1"+forever)
		},
	},
	{
		name: "an upgrade without an end", step: "1m", quiet: "1h", end: "1h20m", fires: []string{"OperationLong/warning"},
		turn: func(s series) { s.each("roundtable_operation_age_seconds", `kind="upgrade"`, "0x11 0+60"+forever) },
	},
	{
		name: "a backup of many hours", step: "1m", quiet: "1h", end: "5h",
		turn: func(s series) { s.each("roundtable_operation_age_seconds", `kind="backup"`, "0x11 0+60"+forever) },
	},
	{
		name: "a backup without an end", step: "10m", quiet: "13h", end: "15h", fires: []string{"OperationLong/warning"},
		turn: func(s series) {
			wellBackedUp(s, "10m")
			s.each("roundtable_operation_age_seconds", `kind="backup"`, "0x11 0+600"+forever)
		},
	},
	{
		name: "a backup that fails", quiet: "55s", end: "1m20s", fires: []string{"BackupFailed/warning"},
		turn: func(s series) {
			s.each("roundtable_operations_total", `kind="backup",outcome="failed"`, "0x11 1"+forever)
		},
	},
	{
		name: "a while after a verification that expired, and a restore that was canceled", quiet: "55s", end: "20m",
		turn: func(s series) {
			s.each("roundtable_operations_total", `kind="verify",outcome="expired"`, "0x11 1"+forever)
			s.each("roundtable_operations_total", `kind="restore",outcome="canceled"`, "0x11 1"+forever)
		},
	},
	{
		name: "a damaged backup", quiet: "55s", end: "1m5s", fires: []string{"BackupDamaged/critical"},
		turn: func(s series) { s.each("roundtable_backups", of+`,state="damaged"`, "0x11 1"+forever) },
	},
	{
		name: "a backup every day, which one member has not heard of", step: "10m", quiet: "2h", end: "60h",
		turn: func(s series) {
			wellBackedUp(s, "10m")
			s.one("m3", "roundtable_backup_last_success_timestamp_seconds", of, "0"+forever)
			s.one("m3", "roundtable_backup_last_verified_timestamp_seconds", of, "0"+forever)
		},
	},
	{
		name: "no backup any more", step: "10m", quiet: "48h", end: "50h", fires: []string{"BackupOld/warning"},
		turn: func(s series) {
			wellBackedUp(s, "10m")
			s.each("roundtable_backup_last_success_timestamp_seconds", of, "0"+forever)
		},
	},
	{
		name: "nothing verified any more", step: "2h", quiet: "340h", end: "370h", fires: []string{"VerifyOld/warning"},
		turn: func(s series) {
			wellBackedUp(s, "2h")
			s.each("roundtable_backup_last_verified_timestamp_seconds", of, "0"+forever)
		},
	},
	{
		name: "nothing to verify", step: "2h", quiet: "340h", end: "390h",
		turn: func(s series) {
			wellBackedUp(s, "2h")
			s.each("roundtable_backup_last_verified_timestamp_seconds", of, "0"+forever)
			s.each("roundtable_backups", of+`,state="done"`, "0"+forever)
		},
	},
	{
		name: "a plan that is left out", quiet: "55s", end: "1m20s", fires: []string{"PlanMissed/warning"},
		turn: func(s series) { s.each("roundtable_plan_skipped_total", nightly, "2x11 3"+forever) },
	},
	{
		name: "a plan that does not come", step: "1m", quiet: "1h", end: "1h20m", fires: []string{"PlanMissed/warning"},
		turn: func(s series) { s.each("roundtable_plan_due_timestamp_seconds", nightly, "600"+forever) },
	},
	{
		name: "two versions of nodeos while one is rolled out", step: "10m", quiet: "2h", end: "24h", turn: twoVersions,
	},
	{
		name: "two versions of nodeos", step: "10m", quiet: "24h", end: "28h", fires: []string{"VersionsDiffer/warning"}, turn: twoVersions,
	},
	{
		name: "two versions of roundtable", step: "10m", quiet: "24h", end: "28h", fires: []string{"VersionsDiffer/warning"},
		turn: func(s series) {
			s.one("m3", "roundtable_build_info", `version="v1"`, "1x11 stale")
			s.one("m3", "roundtable_build_info", `version="v2"`, "_x11 1"+forever)
		},
	},
	{
		name: "a configuration that waits", step: "1m", quiet: "1h5m", end: "1h20m", fires: []string{"ConfigurationWaits/warning"},
		turn: func(s series) {
			for _, by := range []string{"m1", "m2", "m3"} {
				s.one(by, "roundtable_member_config_waits", `id="m2"`, "0x11 1"+forever)
			}
		},
	},
	{
		name: "no standby", quiet: "1m55s", end: "2m10s", fires: []string{"NoFitStandby/warning"},
		turn: func(s series) {
			s.seen("roundtable_member_fit", func(_, id string) string {
				if id == "m1" {
					return "1" + forever
				}
				return "1x11 0" + forever
			})
		},
	},
	{
		name: "maintenance of the cluster", step: "1m", quiet: "1h55m", end: "2h20m", fires: []string{"MaintenanceForgotten/warning"},
		turn: func(s series) { s.each("roundtable_maintenance", "", "0x11 1"+forever) },
	},
	{
		name: "maintenance of a member", step: "1m", quiet: "1h55m", end: "2h20m", fires: []string{"MaintenanceForgotten/warning"},
		turn: func(s series) {
			for _, by := range []string{"m1", "m2", "m3"} {
				s.one(by, "roundtable_member_maintenance", `id="m3"`, "0x11 1"+forever)
			}
		},
	},
	{
		name: "a slow signer", quiet: "1m30s", end: "7m", fires: []string{"GateSlow/warning"},
		turn: func(s series) {
			for _, le := range []string{"0.05", "0.1"} {
				s.one("m1", "roundtable_gate_sign_seconds_bucket", `le="`+le+`"`, "0+2x11 24"+forever)
			}
		},
	},
	{
		name: "a node that is refused", quiet: "1m10s", end: "2m30s", fires: []string{"GateRefusals/warning"},
		turn: func(s series) { s.one("m1", "roundtable_gate_refused_total", `reason="no_lease"`, "3x11 3+1"+forever) },
	},
	{
		name: "one manager is gone", quiet: "1m25s", end: "1m40s", fires: []string{"MemberDown/warning", "ScrapeDown/warning"},
		turn: func(s series) { gone(s, "m3") },
	},
	{
		name: "one manager is gone for long", quiet: "1m25s", end: "5m", fires: []string{"MemberDown/warning", "NoQuorumMargin/warning", "ScrapeDown/warning"},
		turn: func(s series) { gone(s, "m3") },
	},
	{
		name: "a cluster of two has no margin and knows it", quiet: "1m", end: "1h",
		turn: func(s series) {
			for name := range s {
				if strings.Contains(name, "m3") {
					delete(s, name)
				}
			}
			s.each("roundtable_raft_voters", "", "2"+forever)
			s.each("roundtable_raft_voters_alive", "", "2"+forever)
			for name := range s {
				if strings.Contains(name, "m3") {
					delete(s, name)
				}
			}
		},
	},
	{
		name: "no leader", quiet: "1m10s", end: "1m20s", fires: []string{"NoLeader/critical"},
		turn: func(s series) { s.each("roundtable_raft_leader_known", "", "1x11 0"+forever) },
	},
	{
		name: "elections", quiet: "1m10s", end: "2m", fires: []string{"LeaderFlapping/warning"},
		turn: func(s series) {
			s.one("m1", "roundtable_raft_elections_total", "", "1x11 2 2 3 3"+forever)
			s.one("m2", "roundtable_raft_elections_total", "", "1x12 2 2 3"+forever)
		},
	},
	{
		name: "a stalled disk", quiet: "1m", end: "1m10s", fires: []string{"DiskStall/warning"},
		turn: func(s series) { s.one("m2", "roundtable_raft_disk_stall", "", "0x11 1"+forever) },
	},
	{
		name: "a broken disk", quiet: "55s", end: "1m10s", fires: []string{"DiskStall/warning"},
		turn: func(s series) { s.one("m2", "roundtable_raft_canary_errors_total", "", "0x11 0+1"+forever) },
	},
	{
		name: "a clock", quiet: "1m25s", end: "1m35s", fires: []string{"ClockOff/warning"},
		turn: func(s series) {
			for _, by := range []string{"m1", "m2", "m3"} {
				s.one(by, "roundtable_clock_offset_seconds", `id="m2"`, "0.01x11 -0.4"+forever)
			}
		},
	},
	{
		name: "a manager that ends itself", quiet: "1m5s", end: "2m", fires: []string{"ManagerCrashLoop/warning"},
		turn: func(s series) { s.one("m2", "process_start_time_seconds", "", "1000x11 1001 1002 1003"+forever) },
	},
	{
		name: "a node that is down", quiet: "1m55s", end: "2m10s", fires: []string{"NodeDown/warning"},
		turn: func(s series) { s.one("m2", "roundtable_node_up", "", "1x11 0"+forever) },
	},
	{
		name: "a node that ends", quiet: "1m5s", end: "2m", fires: []string{"NodeCrashLoop/warning"},
		turn: func(s series) { s.one("m2", "roundtable_node_restarts_total", "", "0x11 1 2 3"+forever) },
	},
	{
		name: "a node that stays down", quiet: "55s", end: "1m10s", fires: []string{"NodeCrashLoop/warning"},
		turn: func(s series) { s.one("m2", "roundtable_node_state", `state="failed"`, "0x11 1"+forever) },
	},
	{
		name: "a node behind", quiet: "1m55s", end: "2m10s", fires: []string{"NodeBehind/warning"},
		turn: func(s series) { s.one("m2", "roundtable_node_lag", "", "0x11 11"+forever) },
	},
	{
		name: "a node that does not run is not behind", quiet: "1m50s", end: "2m10s", fires: []string{"NodeDown/warning"},
		turn: func(s series) {
			s.one("m2", "roundtable_node_lag", "", "0x11 11"+forever)
			s.one("m2", "roundtable_node_up", "", "1x11 0"+forever)
		},
	},
	{
		name: "a full database", quiet: "1m55s", end: "2m10s", fires: []string{"StateDatabaseFull/warning"},
		turn: func(s series) { s.one("m2", "nodeos_db_size_info_bytes", `metric="free"`, "900x11 90"+forever) },
	},
	{
		name: "a new nodeos", quiet: "1m5s", end: "3m", fires: []string{"UnknownNodeosLines/warning"},
		turn: func(s series) { s.one("m2", "roundtable_node_log_unknown_total", "", "0x11 0+5"+forever) },
	},
	{
		name: "somebody guesses", quiet: "1m10s", end: "2m", fires: []string{"APIRefusals/warning"},
		turn: func(s series) { s.one("m2", "roundtable_api_refused_total", `reason="no_token"`, "3x11 3+5"+forever) },
	},
	{
		name: "a certificate not renewed", step: "1m", quiet: "1h5m", end: "1h20m", fires: []string{"CertificateExpires/warning"},
		turn: func(s series) {
			s.one("m2", "roundtable_certificate_expiry_seconds", `certificate="member"`, fmt.Sprintf("%dx11 %d%s", 60*86400, 10*86400, forever))
		},
	},
	{
		name: "a certificate that ends", step: "1m", quiet: "10m", end: "1h20m", fires: []string{"CertificateExpires/critical", "CertificateExpires/warning"},
		turn: func(s series) {
			s.one("m2", "roundtable_certificate_expiry_seconds", `certificate="member"`, fmt.Sprintf("%dx11 %d%s", 60*86400, 86400, forever))
		},
	},
}

// twoVersions brings a member to another nodeos, and nobody else.
func twoVersions(s series) {
	for _, by := range []string{"m1", "m2", "m3"} {
		s.one(by, "roundtable_member_node_info", `id="m3",version="v1.2.2"`, "1x11 stale")
		s.one(by, "roundtable_member_node_info", `id="m3",version="v1.2.3"`, "_x11 1"+forever)
	}
}

// gone ends a member after a minute: it is scraped no more, and the others miss it.
func gone(s series, member string) {
	for name, values := range s {
		if strings.Contains(name, `instance="`+member) {
			s[name] = strings.Replace(values, forever, "x11 stale", 1)
		}
	}
	s.one(member, "up", "", "1x11 0"+forever)
	for _, by := range []string{"m1", "m2", "m3"} {
		if by != member {
			s.one(by, "roundtable_member_up", `id="`+member+`"`, "1x11 0"+forever)
			s.one(by, "roundtable_member_fit", `id="`+member+`"`, "1x11 0"+forever)
			s.one(by, "roundtable_raft_voters_alive", "", "3x11 2"+forever)
		}
	}
}

// wellBackedUp is a cluster that makes and verifies backups all the time, in samples that are so far apart.
func wellBackedUp(s series, step string) {
	seconds := map[string]string{"10m": "600", "2h": "7200"}[step]
	s.each("roundtable_backup_last_success_timestamp_seconds", of, "0+"+seconds+forever)
	s.each("roundtable_backup_last_verified_timestamp_seconds", of, "0+"+seconds+forever)
	s.each("roundtable_plan_due_timestamp_seconds", nightly, "600+"+seconds+forever)
}
