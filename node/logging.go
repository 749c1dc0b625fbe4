package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// loggingConfig is nodeos' logging.json, as far as the manager reads it; unknown fields stay.
type loggingConfig struct {
	Includes  []string   `json:"includes"`
	Appenders []appender `json:"appenders"`
	Loggers   []logger   `json:"loggers"`
}

type appender struct {
	Name    string         `json:"name"`
	Type    string         `json:"type"`
	Args    map[string]any `json:"args"`
	Enabled bool           `json:"enabled"`
}

type logger struct {
	Name       string   `json:"name"`
	Level      string   `json:"level"`
	Enabled    bool     `json:"enabled"`
	Additivity bool     `json:"additivity"`
	Appenders  []string `json:"appenders"`
}

// gateLogger is the logger that writes `Starting block #N`, and the only one that writes to stdout.
const gateLogger = "producer_plugin"

// spring lists the loggers of nodeos that are named one by one: one that is not in logging.json keeps appenders of its own.
var spring = []string{
	"default", "net_plugin_impl", "http_plugin", "vote", "state_history", "trace_api", "transaction_success_tracing",
	"transaction_failure_tracing", "transaction_trace_success", "transaction_trace_failure", "transient_trx_success_tracing",
	"transient_trx_failure_tracing",
}

// BuildLogging makes the logging.json the gate needs: producer_plugin at debug alone on stdout, everything else on stderr at
// info, no colours. addition is an operator's logging.json, may be nil: its loggers and its appenders to elsewhere (gelf) are
// kept; a *ConfigError refuses one that would put anything else on stdout, where the gate trusts what it reads (lease.md S5).
func BuildLogging(addition []byte) ([]byte, error) {
	out := loggingConfig{
		Includes: []string{},
		Appenders: []appender{
			{Name: "stdout", Type: "console", Enabled: true, Args: map[string]any{"stream": "std_out", "level_colors": []any{}}},
			{Name: "stderr", Type: "console", Enabled: true, Args: map[string]any{"stream": "std_error", "level_colors": []any{}}},
		},
	}
	for _, name := range spring {
		out.Loggers = append(out.Loggers, logger{Name: name, Level: "info", Enabled: true, Appenders: []string{"stderr"}})
	}
	gate := logger{Name: gateLogger, Level: "debug", Enabled: true, Appenders: []string{"stdout"}}
	if len(bytes.TrimSpace(addition)) > 0 {
		if err := out.add(addition, &gate); err != nil {
			return nil, err
		}
	}
	out.Loggers = append(out.Loggers, gate)
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return nil, fmt.Errorf("node: logging.json: %w", err)
	}
	return append(b, '\n'), nil
}

// add merges an operator's logging.json.
func (c *loggingConfig) add(text []byte, gate *logger) error {
	refuse := func(format string, a ...any) error {
		return &ConfigError{Key: "logging.json", Text: fmt.Sprintf(format, a...), Hint: "only producer_plugin may write to stdout, and always at debug"}
	}
	var in loggingConfig
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&in); err != nil {
		return refuse("%v", err)
	}
	if len(in.Includes) > 0 {
		return refuse("includes are not followed")
	}
	alias := map[string]string{} // the operator's names of appenders that are ours
	for _, a := range in.Appenders {
		switch a.Type {
		case "console":
			if stream, ok := a.Args["stream"]; ok && stream != "std_error" {
				if stream == "std_out" {
					return refuse("appender %q writes to stdout", a.Name)
				}
				return refuse("appender %q: unknown stream", a.Name)
			}
			alias[a.Name] = "stderr"
		case "gelf":
			if a.Name == "stdout" || a.Name == "stderr" {
				return refuse("appender name %q is taken", a.Name)
			}
			alias[a.Name] = a.Name
			c.Appenders = append(c.Appenders, a)
		default:
			return refuse("appender %q: type %q could write to stdout", a.Name, a.Type)
		}
	}
	for _, l := range in.Loggers {
		var to []string
		for _, name := range l.Appenders {
			target, ok := alias[name]
			if !ok {
				return refuse("logger %q: unknown appender %q", l.Name, name)
			}
			to = append(to, target)
		}
		if l.Name == gateLogger {
			// stdout and debug are not theirs to change; what goes elsewhere as well is.
			gate.Appenders = union(gate.Appenders, slices.DeleteFunc(to, func(n string) bool { return n == "stderr" }))
			continue
		}
		l.Appenders = to
		if i := slices.IndexFunc(c.Loggers, func(have logger) bool { return have.Name == l.Name }); i >= 0 {
			c.Loggers[i] = l
		} else {
			c.Loggers = append(c.Loggers, l)
		}
	}
	return nil
}
