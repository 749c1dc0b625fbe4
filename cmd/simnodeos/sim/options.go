package sim

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed embed/options.tsv
var optionsTable string

// simHelp describes the double's own options; everything else is nodeos'.
const simHelp = `  --sim-ledger FILE          append one JSON line per block signed: slot, num, id, digest, node, signed_at
  --sim-schedule N|A,B,...   the schedule, 1 to 21 producers: a number gives eosio (1) or prodaaaa, prodbbbb, ...;
                             must be the same on all nodes (default: eosio)
  --sim-keys NAME=PUB[+PUB]  block signing keys of a producer (default: the genesis key), may be repeated; any one suffices
  --sim-lib-lag N            with one producer: irreversible is head - N, not head - 1, so that nodes can part and meet again
  --sim-savanna              digests are block ids, irreversible is head - 2
  --sim-trx-rate N           made-up transactions per second in the blocks of this node (default 20)
  --sim-full-blocks          blocks fill in 20 ms: up to 12 slots are produced ahead of the clock inside a window
  --sim-p2p-latency D        delay of every p2p message sent, one way (default 0s)
  --sim-p2p-loss P           probability in 0..1 that a block broadcast is lost (default 0)
  --sim-p2p-reconnect D      cycle on which lost peers are tried again (default 30s, as nodeos)
  --sim-partition-file FILE  cut links, read every 50 ms: lines "AGENT [in|out]" ("*" is everybody)
  --sim-control              serve /sim/... on the HTTP address: cut, heal, hang, exit (see the package documentation)
  --sim-clock-offset D       move this node's clock
  --sim-clock-file FILE      move it while it runs: package clock's file
  --sim-slow-start D         extra time before HTTP comes up
  --sim-feature-file FILE    protocol features that are active, read at each request: lines "CODENAME [BLOCK]", from that height on
  --sim-table FILE           rows of get_table_rows, read at each request: lines {"code","scope","table","key","row"}
  --sim-block-bytes N        random bytes in each block of this node, so that blocks.log grows (default 0)
  --sim-state-mb N           MiB of data in the state, spread over its file (default 1)
  --sim-state-churn N        KiB of it that each block changes in place (default 32)
  --sim-finalizer            keep finalizers/safety.dat, as a node with a BLS key does
  --sim-exit-at-start CODE   end at once; 254 as for a wrong option, 1 and 2 as for a full and a dirty state database
  --sim-exit-after D         end by itself D after HTTP came up, as for an exception: exit code 254, the state is written
  --sim-never-sync           answer, but take no block from peers
  --sim-version V            what --version, get_info and the log say (default: what the build says)
  --sim-calibration D        the fixed CPU timer calibration at start (default 550ms, as nodeos)
`

var simOptions = map[string]string{
	"sim-ledger": "", "sim-schedule": "eosio", "sim-keys": "", "sim-lib-lag": "0", "sim-savanna": "flag", "sim-trx-rate": "20",
	"sim-full-blocks": "flag", "sim-p2p-latency": "0s", "sim-p2p-loss": "0", "sim-p2p-reconnect": "30s",
	"sim-partition-file": "", "sim-control": "flag", "sim-clock-offset": "0s", "sim-clock-file": "", "sim-slow-start": "0s", "sim-calibration": "550ms", "sim-version": "",
	"sim-feature-file": "", "sim-table": "", "sim-exit-at-start": "", "sim-finalizer": "flag", "sim-block-bytes": "0", "sim-state-mb": "1", "sim-state-churn": "32", "sim-exit-after": "0s", "sim-never-sync": "flag",
}

type optionSpec struct {
	name, short, def string
	flag             bool // takes no value on the command line
	config           bool // may stand in config.ini
}

var optionSpecs = func() map[string]optionSpec {
	specs := map[string]optionSpec{}
	for line := range strings.Lines(optionsTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		specs[f[1]] = optionSpec{name: f[1], short: f[2], def: strings.Trim(f[4], `"`), flag: f[3] == "flag", config: f[0] == "c"}
	}
	wasm := specs["wasm-runtime"]
	wasm.flag, wasm.def = false, "eos-vm-jit"
	specs["wasm-runtime"] = wasm
	for name, def := range simOptions {
		specs[name] = optionSpec{name: name, short: "-", def: strings.TrimPrefix(def, "flag"), flag: def == "flag", config: true}
	}
	return specs
}()

// intOptions must hold whole numbers, else nodeos refuses to start. They are checked for form only.
var intOptions = []string{
	"abi-serializer-max-time-ms", "chain-state-db-size-mb", "chain-state-db-guard-size-mb", "chain-threads", "vote-threads",
	"terminate-at-block", "truncate-at-block", "max-body-size", "http-max-response-time-ms", "http-threads", "p2p-max-nodes-per-host",
	"max-clients", "connection-cleanup-period", "net-threads", "sync-fetch-span", "p2p-keepalive-interval-ms",
	"production-pause-vote-timeout-ms", "max-transaction-time", "max-irreversible-block-age", "greylist-limit",
	"produce-block-offset-ms", "keosd-provider-timeout", "resource-monitor-interval-seconds", "resource-monitor-space-threshold",
	"resource-monitor-space-absolute-gb", "resource-monitor-warning-interval", "blocks-log-stride", "max-retained-block-files",
	"sim-block-bytes", "sim-state-mb", "sim-state-churn",
}

// optionError is a refused option; origin and thrown are what boost prints of it.
type optionError struct{ thrown, dynamic, message string }

func (e *optionError) Error() string { return e.message }

func (e *optionError) detail() string {
	return fmt.Sprintf("%s\nDynamic exception type: boost::wrapexcept<%s>\nstd::exception::what: %s\n", e.thrown, e.dynamic, e.message)
}

func initializeError(line int, format string, args ...any) *optionError {
	return &optionError{
		thrown: fmt.Sprintf("/src/spring/libraries/appbase/application_base.cpp(%d): Throw in function bool appbase::application_base::"+
			"initialize_impl(int, char**, std::vector<appbase::abstract_plugin*>, std::function<void()>)", line),
		dynamic: "std::runtime_error", message: fmt.Sprintf(format, args...),
	}
}

func valueError(name, value string) *optionError {
	return &optionError{
		thrown: "Throw location unknown (consider using BOOST_THROW_EXCEPTION)", dynamic: "boost::program_options::invalid_option_value",
		message: fmt.Sprintf("the argument ('%s') for option '%s' is invalid", value, name),
	}
}

type setting struct {
	name, value string
	cli         bool
}

// options is what the command line and config.ini say; the command line wins, as in nodeos.
type options struct {
	settings   []setting
	configDir  string
	dataDir    string
	configFile string
	redundant  []string // config.ini items that only repeat a default
}

// parseArgs reads the command line alone.
func parseArgs(args []string) (*options, error) {
	o := &options{}
	home, _ := os.UserHomeDir()
	base := filepath.Join(home, ".local/share/eosio/nodeos")
	o.configDir, o.dataDir = filepath.Join(base, "config"), filepath.Join(base, "data")
	for i := 0; i < len(args); i++ {
		name, value, spec, hasValue := args[i], "", optionSpec{}, false
		switch {
		case strings.HasPrefix(name, "--"):
			long := name[2:]
			if eq := strings.IndexByte(long, '='); eq >= 0 {
				long, value, hasValue = long[:eq], long[eq+1:], true
			}
			spec = optionSpecs[long]
		case strings.HasPrefix(name, "-") && len(name) >= 2:
			for _, s := range optionSpecs {
				if s.short == name[:2] {
					spec = s
				}
			}
			if len(name) > 2 {
				value, hasValue = name[2:], true
			}
		}
		if spec.name == "" {
			return o, initializeError(248, "Unknown option '%s' passed as command line argument", name)
		}
		if !spec.flag && !hasValue {
			if i++; i >= len(args) {
				return o, &optionError{thrown: "Throw location unknown (consider using BOOST_THROW_EXCEPTION)",
					dynamic: "boost::program_options::invalid_command_line_syntax",
					message: fmt.Sprintf("the required argument for option '--%s' is missing", spec.name)}
			}
			value = args[i]
		}
		o.settings = append(o.settings, setting{spec.name, value, true})
		switch spec.name {
		case "config-dir":
			o.configDir, _ = filepath.Abs(value)
		case "data-dir":
			o.dataDir, _ = filepath.Abs(value)
		}
	}
	o.configFile = o.path(o.configDir, o.get("config"))
	return o, nil
}

// readConfig adds config.ini, which is created where it does not exist.
func (o *options) readConfig() error {
	if _, err := os.Stat(o.configFile); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(o.configFile), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(o.configFile, []byte(defaultConfig()), 0o644); err != nil {
			return err
		}
	}
	f, err := os.Open(o.configFile)
	if err != nil {
		return err
	}
	defer f.Close()
	given := map[string]bool{}
	for _, s := range o.settings {
		given[s.name] = true
	}
	same := map[string]bool{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := sc.Text()
		if h := strings.IndexByte(line, '#'); h >= 0 {
			line = line[:h]
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		spec, ok := optionSpecs[name]
		if !ok || !spec.config {
			return initializeError(324, "Unknown option '%s' inside the config file %s", name, o.configFile)
		}
		if spec.def != "" && (value == spec.def || spec.def == "1" && value == "true" || spec.def == "0" && value == "false") {
			same[name] = true
		}
		if spec.flag && !truth(value) || given[name] {
			continue // false flags are as good as absent; the command line overrides
		}
		o.settings = append(o.settings, setting{name, value, false})
	}
	for name := range same {
		o.redundant = append(o.redundant, name)
	}
	slices.Sort(o.redundant)
	return sc.Err()
}

// check refuses values of the wrong form.
func (o *options) check() error {
	for _, s := range o.settings {
		if slices.Contains(intOptions, s.name) {
			if _, err := strconv.ParseInt(s.value, 10, 64); err != nil {
				return valueError(s.name, s.value)
			}
		}
		if def := simOptions[s.name]; strings.HasSuffix(def, "s") {
			if _, err := time.ParseDuration(s.value); err != nil {
				return valueError(s.name, s.value)
			}
		}
		if s.name == "sim-exit-at-start" {
			if code, err := strconv.Atoi(s.value); err != nil || code < 0 || code > 255 {
				return valueError(s.name, s.value)
			}
		}
		if s.name == "sim-trx-rate" || s.name == "sim-p2p-loss" {
			if _, err := strconv.ParseFloat(s.value, 64); err != nil {
				return valueError(s.name, s.value)
			}
		}
	}
	return nil
}

func (o *options) get(name string) string {
	if all := o.all(name); len(all) > 0 {
		return all[len(all)-1]
	}
	return optionSpecs[name].def
}

// all gives every value of an option that may be repeated.
func (o *options) all(name string) []string {
	var out []string
	for _, s := range o.settings {
		if s.name == name {
			out = append(out, s.value)
		}
	}
	return out
}

func (o *options) set(name string) bool { return len(o.all(name)) > 0 }

func (o *options) flag(name string) bool {
	if optionSpecs[name].flag {
		return o.set(name)
	}
	return truth(o.get(name))
}

func (o *options) num(name string) int64 {
	n, _ := strconv.ParseInt(o.get(name), 10, 64) // check has seen it
	return n
}

func (o *options) float(name string) float64 {
	f, _ := strconv.ParseFloat(o.get(name), 64)
	return f
}

func (o *options) duration(name string) time.Duration {
	d, _ := time.ParseDuration(o.get(name))
	return d
}

// path resolves a name that is relative to a folder.
func (o *options) path(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// nonDefault is nodeos' "Non-default options" line, with private keys masked.
func (o *options) nonDefault() string {
	var parts []string
	for _, s := range o.settings {
		switch {
		case optionSpecs[s.name].flag:
			parts = append(parts, s.name)
		case s.name == "signature-provider":
			v := s.value
			if i := strings.Index(v, "=KEY:"); i >= 0 {
				v = v[:i] + "=KEY:***"
			}
			parts = append(parts, s.name+" = "+v)
		default:
			parts = append(parts, s.name+" = "+s.value)
		}
	}
	return strings.Join(parts, ", ")
}

func truth(s string) bool {
	switch strings.ToLower(s) {
	case "1", "true", "yes", "on":
		return true
	}
	return false
}

// defaultConfig is what is written where there is no config.ini: every option commented out.
func defaultConfig() string {
	var b strings.Builder
	for line := range strings.Lines(optionsTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if f[0] == "c" {
			fmt.Fprintf(&b, "# %s = %s\n\n", f[1], strings.Trim(f[4], `"`))
		}
	}
	return b.String()
}

func helpText() string {
	var b strings.Builder
	b.WriteString("simnodeos: a TEST DOUBLE of nodeos (AntelopeIO Spring v1.2.2) and a demo chain. It holds no real chain, executes no\n" +
		"contracts and does not speak nodeos' p2p protocol. Never connect it to anything of value.\n\n" +
		"Options of the double:\n" + simHelp + "\nOptions of nodeos (also as config.ini keys; those without meaning here are accepted and ignored):\n")
	for line := range strings.Lines(optionsTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		arg := ""
		if f[3] == "arg" {
			arg = " arg"
		}
		if f[2] != "-" {
			fmt.Fprintf(&b, "  %s [ --%s ]%s\n", f[2], f[1], arg)
		} else {
			fmt.Fprintf(&b, "  --%s%s\n", f[1], arg)
		}
	}
	return b.String()
}
