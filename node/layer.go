package node

import (
	"slices"
	"strings"
)

// Layer is a piece of a config.ini; Name says in messages which one it is.
type Layer struct{ Name, Text string }

// added are the settings of which nodeos takes any number and that belong to different people: they add up over the layers.
var added = []string{"plugin", "p2p-peer-address", "signature-provider"}

// Lay lays pieces of a config.ini over each other: what a later one sets replaces all that earlier ones set of the same key,
// but for plugin, p2p-peer-address and signature-provider, which add up. Comments are lost. A *ConfigError names the layer.
func Lay(layers ...Layer) (string, error) {
	var all []Setting
	for _, l := range layers {
		over, err := ParseINI(l.Text)
		if err != nil {
			return "", &ConfigError{Key: l.Name, Text: strings.TrimPrefix(strings.TrimPrefix(err.Error(), "node: "), "config template, ")}
		}
		all = slices.DeleteFunc(all, func(s Setting) bool {
			return !slices.Contains(added, s.Key) && slices.ContainsFunc(over, func(o Setting) bool { return o.Key == s.Key })
		})
		for _, s := range over {
			if !slices.Contains(added, s.Key) || !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	text, err := writeINI(all)
	if err != nil {
		return "", &ConfigError{Key: "settings", Text: strings.TrimPrefix(err.Error(), "node: ")}
	}
	return string(text), nil
}
