// Package config is the configuration of one manager: config.toml, then the environment (ROUNDTABLE_<SECTION>_<KEY>),
// then what the caller's flags set, each over the one before.
//
// It owns the names of the keys, their defaults and what may stand in them. It is strict: a key that it does not know, a
// value of the wrong kind or one that would break a promise stops the start, and every problem found is reported at once
// with file, key, value and a hint. It opens no socket and starts nothing, never changes a file, and holds no secret:
// keys are named by file. Read config.go first, then validate.go.
package config
