package sim

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"
)

//go:embed embed/endpoints.tsv
var endpointsTable string

const devKey = "EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV=KEY:5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"

func mainSite(line int, fn string) site { return site{"main.cpp", line, cut(fn, 20)} }

func chainSite(line int) site { return site{"chain_plugin.cpp", line, "plugin_initialize"} }

func (n *Node) say(at site, format string, args ...any) {
	n.log.log(logDefault, levelInfo, at, format, args...)
}

// knownPlugins are the plugins nodeos 1.2.2 has.
var knownPlugins = strings.Fields("chain_plugin chain_api_plugin producer_plugin producer_api_plugin net_plugin net_api_plugin http_plugin " +
	"db_size_api_plugin prometheus_plugin resource_monitor_plugin signature_provider_plugin state_history_plugin trace_api_plugin test_control_plugin test_control_api_plugin")

// initialize is what nodeos does before its main loop: every plugin's initialize, in order, with its log lines.
func (n *Node) initialize() error {
	if len(n.opts.redundant) > 0 {
		n.log.raw("APPBASE: Warning: The following configuration items in the config.ini file are redundantly set to\n" +
			"         their default value:\n             " + strings.Join(n.opts.redundant, ", ") + "\n" +
			"         Explicit values will override future changes to application defaults. Consider commenting out or\n         removing these items.\n")
	}
	n.say(chainSite(493), "initializing chain plugin")
	if err := n.loadChain(); err != nil {
		return n.pluginFailed("chain_plugin", err, chainSite(1130))
	}
	n.calibrate()
	if err := n.initProducer(); err != nil {
		return err
	}
	if n.interrupted() {
		return nil
	}
	n.log.log(logProducer, levelInfo, prodSite(1439, "plugin_initialize"), "Subjective CPU billing disabled")
	n.log.log(logNet, levelInfo, netSite(4372, "plugin_initialize"), "Initialize net plugin")
	for _, p := range n.opts.all("plugin") {
		if !contains(knownPlugins, strings.TrimPrefix(p, "eosio::")) {
			e := &optionError{dynamic: "std::runtime_error", message: "unable to find plugin: " + p,
				thrown: "/src/spring/libraries/appbase/application_base.cpp(568): Throw in function appbase::abstract_plugin& appbase::application_base::get_plugin(const std::string&) const"}
			n.log.raw(fmt.Sprintf("appbase: exception thrown during plugin %q initialization.\n%s\n", p, e.detail()))
			return e
		}
	}
	if n.plugin("prometheus") {
		n.handlerLine("prometheus", "/v1/prometheus/metrics")
	}
	n.resourceMonitorLines()
	n.versionLine(mainSite(203, "main"))
	n.say(mainSite(206, "main"), "nodeos using configuration file %s", n.opts.configFile)
	n.say(mainSite(207, "main"), "nodeos data directory is %s", n.opts.dataDir)
	n.optionsLine()
	return nil
}

func (n *Node) versionLine(at site) { n.say(at, "nodeos version %s %s", Version, fullVersion()) }

func (n *Node) optionsLine() {
	n.say(mainSite(69, "log_non_default_options"), "Non-default options: %s", n.opts.nonDefault())
}

// calibrate is nodeos' CPU timer calibration: about 0.55 s at every start.
func (n *Node) calibrate() {
	select {
	case <-time.After(n.opts.duration("sim-calibration") + n.opts.duration("sim-slow-start")):
	case <-n.term:
	}
	n.say(site{"platform_timer_accurac", 63, "compute_and_print_timer_accuracy"[:20]}, "Checktime timer accuracy: min:10us max:2953us mean:31us stddev:59us")
}

// pluginFailed logs an exception the way chain_plugin and producer_plugin do and adds the rethrow entry.
func (n *Node) pluginFailed(plugin string, err error, at site) error {
	var e *chainError
	if !errors.As(err, &e) {
		return err
	}
	n.log.log(logDefault, levelWarn, at, "%s", e.detail())
	n.log.raw(fmt.Sprintf("appbase: exception thrown during plugin %q initialization.\n%s\n", "eosio::"+plugin, e.what))
	if e.code == 13 {
		return e // boost's own exception is wrapped by the log entry alone
	}
	return e.with("rethrow", "", at)
}

func (n *Node) plugin(name string) bool {
	for _, p := range n.opts.all("plugin") {
		if strings.TrimPrefix(p, "eosio::") == name+"_plugin" {
			return true
		}
	}
	return false
}

func (n *Node) resourceMonitorLines() {
	line := func(no int, format string, args ...any) {
		n.say(site{"resource_monitor_plugi", no, "plugin_initialize"}, format, args...)
	}
	line(70, "Monitoring interval set to %s", n.opts.get("resource-monitor-interval-seconds"))
	line(86, "Space usage threshold set to %s%%", n.opts.get("resource-monitor-space-threshold"))
	if n.opts.flag("resource-monitor-not-shutdown-on-threshold-exceeded") {
		line(92, "Shutdown flag when threshold exceeded set to false")
	} else {
		line(96, "Shutdown flag when threshold exceeded set to true")
	}
	line(103, "Warning interval set to %s", n.opts.get("resource-monitor-warning-interval"))
}

// initProducer is producer_plugin's plugin_initialize: names, keys, the sim options.
func (n *Node) initProducer() error {
	o := n.opts
	specs := o.all("signature-provider")
	if len(specs) == 0 {
		specs = []string{devKey}
	}
	provs, bad, err := newSigners(specs, o.num("keosd-provider-timeout"))
	if err != nil {
		e := err.entries[0]
		n.log.log(logProducer, levelError, prodSite(1383, "plugin_initialize"),
			`Malformed signature provider: "%s": {"code":%d,"name":"%s","message":"%s","stack":[{"context":{"level":"error","file":"%s","line":%d,"method":"%s","hostname":"","thread_name":"nodeos","timestamp":"%s"},"format":%s,"data":{}}]}, ignoring!`,
			bad, err.code, err.name, err.what, e.at.file, e.at.line, e.at.fn, formatTime(n.clock.now()), quoteJSON(e.message))
		return n.pluginFailed("producer_api_plugin", err, prodSite(1572, "plugin_initialize"))
	}
	led, lerr := openLedger(o.get("sim-ledger"))
	if lerr != nil {
		return lerr
	}
	p := &producer{
		clock: n.clock, log: n.log, chain: n.chain, names: n.producers, signers: provs, ledger: led, agent: o.get("agent-name"),
		offset: time.Duration(o.num("produce-block-offset-ms")) * time.Millisecond, maxLibAge: time.Duration(o.num("max-irreversible-block-age")) * time.Second,
		trxRate: o.float("sim-trx-rate"), full: o.flag("sim-full-blocks"), fill: int(max(min(o.num("sim-block-bytes"), maxFill), 0)), terminate: uint32(o.num("terminate-at-block")),
		watermarks: map[string]watermark{}, enabled: o.flag("enable-stale-production"), paused: o.flag("pause-on-startup"),
		quit: n.quit,
	}
	n.prod = p
	n.chain.accepted = p.note
	return nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
