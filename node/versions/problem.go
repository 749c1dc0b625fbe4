package versions

import (
	"errors"
	"fmt"
)

// What can be wrong. Every error of this package is a *Problem of one of these kinds, but for a context that ended.
var (
	ErrTag        = errors.New("no tag of a version")
	ErrUnknown    = errors.New("no such version")
	ErrInUse      = errors.New("the version is in use")
	ErrCurrent    = errors.New("the link to the current version is broken")
	ErrRunFile    = errors.New("run.toml is not right")
	ErrHome       = errors.New("the home folder cannot be used")
	ErrSource     = errors.New("the source cannot be used") // it makes no sense, or answers with something else
	ErrMissing    = errors.New("the asset is missing")      // 404: source, release or asset
	ErrConnection = errors.New("the connection was lost")
	ErrStalled    = errors.New("the download stalled")
	ErrChecksum   = errors.New("the checksum is wrong")
	ErrNoChecksum = errors.New("no checksum is known")
	ErrNoSpace    = errors.New("the disk has no room")
	ErrArchive    = errors.New("the archive cannot be read")
	ErrUnsafe     = errors.New("the archive is not safe")
	ErrNoBinary   = errors.New("the binary is not in it")
	ErrBinary     = errors.New("the binary cannot be run")
	ErrLies       = errors.New("the version is another one")
)

// Problem is what went wrong and what to do about it.
type Problem struct {
	Kind    error // one of the above
	Message string
	Hint    string
	Err     error // what the system said; nil where the message says it all
}

// Error says what is wrong.
func (p *Problem) Error() string {
	if p.Err == nil {
		return p.Message
	}
	return p.Message + ": " + p.Err.Error()
}

// Unwrap gives the kind and the cause.
func (p *Problem) Unwrap() []error {
	if p.Err == nil {
		return []error{p.Kind}
	}
	return []error{p.Kind, p.Err}
}

// Hint is what to do about an error of this package, "" for another's.
func Hint(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Hint
	}
	return ""
}

func problem(kind error, hint, format string, args ...any) *Problem {
	return &Problem{Kind: kind, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// because adds what the system said.
func (p *Problem) because(err error) *Problem {
	p.Err = err
	return p
}
