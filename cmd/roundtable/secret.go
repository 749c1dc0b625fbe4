package main

import "regexp"

// secret is a token. However it is printed, it does not show.
type secret string

// String hides it.
func (secret) String() string { return "(hidden)" }

// GoString hides it from %#v.
func (secret) GoString() string { return "(hidden)" }

// secrets are the shapes of tokens and join strings. The id that follows the prefix is none.
var secrets = regexp.MustCompile(`\b(rti?1_[0-9A-Za-z]+_|rtj1_)[0-9A-Za-z_+/=.-]+`)

// scrub takes secrets out of an error's text, whoever put them there: a mistyped command line, say.
func scrub(s string) string { return secrets.ReplaceAllString(s, "${1}(hidden)") }
