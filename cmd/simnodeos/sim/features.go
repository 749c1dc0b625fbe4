package sim

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed embed/features.tsv
var featuresTable string

// feature is a protocol feature; digests in hex.
type feature struct {
	name, digest string
	enabled      string // how the log says so
	description  string // digest
	needs        []string
}

// builtins are those nodeos has, in the order of its log (recording 55-get_supported_protocol_features has the digests).
var builtins = func() (all []feature) {
	for line := range strings.Lines(featuresTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		all = append(all, feature{f[0], f[1], f[2], f[3], strings.FieldsFunc(f[4], func(r rune) bool { return r == ',' })})
	}
	return all
}()

func (f feature) preactivated() bool { return !strings.HasPrefix(f.enabled, "without") }

func (f feature) dependencies() string {
	quoted := make([]string, len(f.needs))
	for i, d := range f.needs {
		quoted[i] = quoteJSON(d)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// features writes the protocol feature files and their log lines.
func (n *Node) features() error {
	dir := n.opts.path(n.opts.configDir, n.opts.get("protocol-features-dir"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range builtins {
		at := 921
		if !f.preactivated() {
			at = 934
		}
		n.say(site{"protocol_feature_manag", at, "operator()"}, "Support for builtin protocol feature '%s' (with digest of '%s') is enabled %s", f.name, f.digest, f.enabled)
		path := filepath.Join(dir, "BUILTIN-"+f.name+".json")
		if _, err := os.Stat(path); err == nil {
			continue
		}
		text := fmt.Sprintf("{\n  \"protocol_feature_type\": \"builtin\",\n  \"dependencies\": %s,\n  \"description_digest\": %q,\n"+
			"  \"subjective_restrictions\": {\n    \"enabled\": true,\n    \"preactivation_required\": %t,\n"+
			"    \"earliest_allowed_activation_time\": \"1970-01-01T00:00:00.000\"\n  },\n  \"builtin_feature_codename\": %q\n}\n",
			f.dependencies(), f.description, f.preactivated(), f.name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		n.say(site{"protocol_feature_manag", 1029, "operator()"},
			"Saved default specification for builtin protocol feature '%s' (with digest of '%s') to: %s", f.name, f.digest, path)
	}
	return nil
}

// activatedFeatures lists those of --sim-feature-file: none without it, as recorded. Bounds and order that a request asks for are
// ignored. The keys and their order are those of protocol_feature::to_variant; no chain with an active one was recorded.
func (n *Node) activatedFeatures([]byte) response {
	var parts []string
	for line := range strings.Lines(readSim(n.opts.get("sim-feature-file"))) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		block := uint64(2)
		if len(words) > 1 {
			block, _ = strconv.ParseUint(words[1], 10, 32) // what is no number is block 0
		}
		if uint64(n.chain.head.num) < block {
			continue
		}
		f := featureNamed(words[0])
		parts = append(parts, fmt.Sprintf(`{"feature_digest":"%s","activation_ordinal":%d,"activation_block_num":%d,"description_digest":"%s",`+
			`"dependencies":%s,"protocol_feature_type":"builtin","specification":[{"name":"builtin_feature_codename","value":%s}]}`,
			f.digest, len(parts), block, f.description, f.dependencies(), quoteJSON(f.name)))
	}
	return ok200(`{"activated_protocol_features":[` + strings.Join(parts, ",") + `]}`)
}

// featureNamed is the one of that code name or digest; any other name is one that a later nodeos may have.
func featureNamed(name string) feature {
	for _, f := range builtins {
		if f.name == name || f.digest == name {
			return f
		}
	}
	sum := sha256.Sum256([]byte(name))
	digest := hex.EncodeToString(sum[:])
	return feature{name: name, digest: digest, description: digest}
}

// readSim is what stands in one of the double's own files now; nothing where there is none.
func readSim(path string) string {
	if path == "" {
		return ""
	}
	text, _ := os.ReadFile(path) // a file that is not there yet is as good as an empty one
	return string(text)
}
