package manager

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/node"
)

// configuration is what a node is started with, as far as an operator may change it and the node has to be started anew for it.
// What a version of nodeos brings along (run.toml) is no part of it. It may hold BLS keys and secrets of the environment: it is
// never shown, and its hash says nothing about them.
type configuration struct {
	Path     string            `json:"path,omitempty"`     // node.path: nodeos of the versions that bring none
	Template string            `json:"template,omitempty"` // text of node.config_template
	Overlay  string            `json:"overlay,omitempty"`  // the cluster's, laid over it
	Logging  string            `json:"logging,omitempty"`  // text of the operator's logging.json
	Args     []string          `json:"args,omitempty"`     // node.args
	Env      map[string]string `json:"env,omitempty"`      // node.env
	Peers    []string          `json:"peers,omitempty"`    // node.peers
}

// hash names a configuration: 16 hex digits. Members with the same hash have the same configuration, whatever their versions. Comments,
// blanks and the order of different keys are no part of it: no node is stopped for them.
func (c configuration) hash() string {
	c.Template, c.Overlay, c.Logging = settled(c.Template), settled(c.Overlay), compact(c.Logging)
	sum := sha256.Sum256(c.encode())
	return hex.EncodeToString(sum[:8])
}

// settled is what lines of config.ini set, ordered by key; the values of one key stay in their order. Lines that are none stay as they are.
func settled(lines string) string {
	all, err := node.ParseINI(lines)
	if err != nil {
		return lines
	}
	slices.SortStableFunc(all, func(a, b node.Setting) int { return strings.Compare(a.Key, b.Key) })
	list := make([]string, len(all))
	for i, s := range all {
		list[i] = s.Key + " = " + s.Value
	}
	return strings.Join(list, "\n")
}

// compact is JSON without blanks; what is none stays as it is.
func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}

func (c configuration) encode() []byte {
	text, _ := json.Marshal(c) // strings, and a map that is sorted: it cannot fail
	return text
}

// lying reads the configuration that lies there: in config.toml and the files that it names, and the overlay as it is known.
func lying(c *config.Config, overlay string) (configuration, error) {
	out := configuration{Path: c.Node.Path, Overlay: overlay, Args: slices.Clone(c.Node.Args), Env: maps.Clone(c.Node.Env), Peers: slices.Clone(c.Node.Peers)}
	if c.Node.ConfigTemplate != "" {
		text, err := os.ReadFile(c.Node.ConfigTemplate)
		if err != nil {
			return out, fmt.Errorf("manager: node.config_template: %w", err)
		}
		out.Template = string(text)
	}
	text, err := os.ReadFile(loggingFile(c))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, fmt.Errorf("manager: logging.json: %w", err)
	}
	out.Logging = string(text)
	return out, nil
}

// loggingFile is where an operator's own loggers are, if any.
func loggingFile(c *config.Config) string { return filepath.Join(c.Manager.Home, "logging.json") }

// built is what nodeos reads at its start.
type built struct {
	node.Built
	logging []byte
}

// build makes the files of a start with a configuration and a version. Later ones win: template, the cluster's overlay, the
// version's overlay, what roundtable owns (settings).
func (c configuration) build(settings node.Settings, v version) (built, error) {
	// A key in the overlay would stand in the log of the cluster and in every answer that shows its configuration.
	if all, err := node.ParseINI(c.Overlay); err == nil && slices.ContainsFunc(all, func(s node.Setting) bool { return s.Key == "signature-provider" }) {
		return built{}, &node.ConfigError{Key: "signature-provider", Text: "stands in the cluster's overlay, which everybody may read", Hint: "keys belong into each member's own node.config_template; take this one for lost"}
	}
	// And one of a version would be the same on all members: two nodes with one key vote against each other.
	if all, err := node.ParseINI(v.Overlay); err == nil && slices.ContainsFunc(all, func(s node.Setting) bool { return s.Key == "signature-provider" }) {
		return built{}, &node.ConfigError{Key: "signature-provider", Text: "stands in the config of run.toml, version " + v.Tag + ", which is the same for all members", Hint: "keys belong into each member's own node.config_template; take this one for lost"}
	}
	text, err := node.Lay(node.Layer{Name: "node.config_template", Text: c.Template}, node.Layer{Name: "the cluster's overlay", Text: c.Overlay},
		node.Layer{Name: "config of run.toml, version " + v.Tag, Text: v.Overlay})
	if err != nil {
		return built{}, err
	}
	settings.Template, settings.Peers, settings.Args = text, c.Peers, slices.Concat(c.Args, v.Args)
	b, err := node.Build(settings)
	if err != nil {
		return built{}, err
	}
	logging, err := node.BuildLogging([]byte(c.Logging))
	return built{b, logging}, err
}

// wrong says in short why a configuration is not taken; it holds no key.
func wrong(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "manager: "), "node: config: ")
}

// configs is the folder of the configurations that a member keeps: by their hashes, and which of them its node runs. For one
// goroutine at a time.
type configs struct {
	dir string
	kept
}

// kept says which configuration is which. It is one file, so that it changes at once.
type kept struct {
	Adopted string `json:"adopted,omitempty"` // hash: what the node is started with
	Before  string `json:"before,omitempty"`  // hash: what it was started with before that one
	Refused string `json:"refused,omitempty"` // hash: what failed here, as the cluster's state says
	Worked  string `json:"worked,omitempty"`  // hash: what a node was last up with
	Version string `json:"version,omitempty"` // tag: the version before the present one

	// Of the cluster's state, as it was last known here:

	Overlay  string            `json:"overlay,omitempty"`  // the cluster's
	Overlaid uint64            `json:"overlaid,omitempty"` // index of the entry that wrote it
	Unproven bool              `json:"unproven,omitempty"` // no rollout has brought it to all yet
	Others   map[string]string `json:"others,omitempty"`   // public finalizer keys of the other members' nodes, and whose they are; replaced as a whole
}

// same reports whether nothing differs.
func (k kept) same(o kept) bool {
	others := maps.Equal(k.Others, o.Others)
	k.Others, o.Others = nil, nil
	return others && reflect.DeepEqual(k, o)
}

// recentConfigs is how many configurations are kept beside those in use: an operation that began with an older one still finds it.
const recentConfigs = 6

// configsName is their folder in a home.
const configsName = "configs"

const keptFile = "kept.json"

// openConfigs reads the folder; it need not be there.
func openConfigs(dir string) (*configs, error) {
	c := &configs{dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, keptFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return nil, fmt.Errorf("manager: configurations: %w", err)
	}
	if err := json.Unmarshal(text, &c.kept); err != nil {
		return nil, fmt.Errorf("manager: %s: %w (hint: remove it; the node then starts with the configuration that lies there)", filepath.Join(dir, keptFile), err)
	}
	return c, nil
}

// note changes kept, on the disk first.
func (c *configs) note(change func(*kept)) error {
	next := c.kept
	if change(&next); next.same(c.kept) {
		return nil
	}
	text, _ := json.MarshalIndent(next, "", "  ") // it cannot fail
	if err := durable.Write(filepath.Join(c.dir, keptFile), append(text, '\n')); err != nil {
		return fmt.Errorf("manager: configurations: %w", err)
	}
	c.kept = next
	return nil
}

func (c *configs) path(hash string) string { return filepath.Join(c.dir, hash+".json") }

// put keeps a configuration and returns its hash.
func (c *configs) put(conf configuration) (string, error) {
	hash := conf.hash()
	if _, err := c.get(hash); err == nil {
		return hash, nil
	}
	if err := durable.Write(c.path(hash), conf.encode()); err != nil {
		return "", fmt.Errorf("manager: configurations: %w", err)
	}
	return hash, nil
}

var errNoConfig = errors.New("this member has no such configuration")

// get reads a kept configuration; one that is not what it was when it was kept is none.
func (c *configs) get(hash string) (conf configuration, err error) {
	text, err := os.ReadFile(c.path(hash))
	switch {
	case errors.Is(err, fs.ErrNotExist), filepath.Base(hash) != hash:
		return conf, fmt.Errorf("manager: configuration %s: %w", hash, errNoConfig)
	case err != nil:
		return conf, fmt.Errorf("manager: configuration %s: %w", hash, err)
	}
	if json.Unmarshal(text, &conf) != nil || conf.hash() != hash {
		return conf, fmt.Errorf("manager: configuration %s: the file is damaged: %w", hash, errNoConfig)
	}
	return conf, nil
}

// adopt makes a kept configuration the one that the node is started with.
func (c *configs) adopt(hash string) error {
	return c.note(func(k *kept) {
		if k.Adopted != hash {
			k.Adopted, k.Before = hash, k.Adopted
		}
	})
}

// prune removes what nobody needs any more: all but those in use, those named, and the most recent.
func (c *configs) prune(needed ...string) error {
	files, err := filepath.Glob(filepath.Join(c.dir, "*.json"))
	if err != nil {
		return err
	}
	type file struct {
		path string
		at   int64
	}
	var old []file
	needed = append(needed, c.Adopted, c.Before, c.Worked)
	for _, path := range files {
		hash := strings.TrimSuffix(filepath.Base(path), ".json")
		info, err := os.Stat(path)
		if err != nil || filepath.Base(path) == keptFile || slices.Contains(needed, hash) {
			continue
		}
		old = append(old, file{path, info.ModTime().UnixNano()})
	}
	slices.SortFunc(old, func(a, b file) int { return int(min(1, max(-1, b.at-a.at))) })
	var failed error
	for _, f := range old[min(recentConfigs, len(old)):] {
		failed = errors.Join(failed, os.Remove(f.path))
	}
	return failed
}
