package store

import (
	"errors"
	"fmt"

	"roundtable/backup"
)

// Code says what kind of thing went wrong. It is an error, so that errors.Is(err, NoBucket) asks for it.
type Code string

// What can be wrong with a store.
const (
	BadURL      Code = "url"         // it names no store
	BadEnv      Code = "environment" // the file with the credentials cannot be used
	Credentials Code = "credentials" // missing, wrong or too old
	Permission  Code = "permission"  // known to the store, but not allowed to do this
	NoBucket    Code = "no_bucket"   // the bucket, container or folder is not there
	Region      Code = "region"      // the bucket is in another one
	Clock       Code = "clock"       // this machine's clock is not the store's
	Unreachable Code = "unreachable" // nobody answers at the endpoint
	TLS         Code = "tls"         // somebody answers whom we do not trust, or who speaks something else
	Lost        Code = "connection"  // the connection was lost on the way
	Stalled     Code = "stalled"     // no bytes for too long
	Throttled   Code = "throttled"   // too many requests, says the store
	Server      Code = "server"      // the store has a fault of its own
	NoSpace     Code = "no_space"    // a disk or a quota is full
	ReadOnly    Code = "read_only"   // a file system is
	NotFound    Code = "not_found"   // an object: backup.ErrNotFound, too
	Exists      Code = "exists"      // an object: backup.ErrExists, too
	TooBig      Code = "too_big"     // an object is larger than Options.MaxObject
	Replaces    Code = "replaces"    // the store cannot be kept from replacing objects
	Wrong       Code = "wrong"       // the store does not give back what was written
	Refused     Code = "refused"     // anything else that it did not want
)

// meanings are the codes in words, and what to do about them.
var meanings = map[Code]struct{ text, hint string }{
	BadURL:      {"the URL of the store is not right", "write file:///folder, s3://bucket/prefix?region=...&endpoint=..., gs://bucket/prefix or azblob://container/prefix"},
	BadEnv:      {"the file with the credentials cannot be used", "lines of NAME=value, readable by its owner alone: chmod 600"},
	Credentials: {"the store does not accept the credentials", "set them in the environment, in the cloud's own files, or in the file of credentials of this repository; look for a key that was revoked or mistyped"},
	Permission:  {"the credentials do not allow it", "a repository needs to write, read, list and delete objects below its prefix"},
	NoBucket:    {"the bucket is not there", "make it first, or correct its name, the region and the endpoint in the URL"},
	Region:      {"the bucket is in another region", "set region=... in the URL"},
	Clock:       {"this machine's clock is not the store's", "set the clock right: chronyc tracking, timedatectl"},
	Unreachable: {"nobody answers there", "look at the name, the port, the firewall and the proxy, and whether the store runs"},
	TLS:         {"the endpoint cannot be trusted, or speaks something else", "write http:// or https:// as the store does; a private authority's certificate goes into SSL_CERT_FILE or AWS_CA_BUNDLE"},
	Lost:        {"the connection was lost", "it was tried again for as long as was allowed; look at the network and at the store's log"},
	Stalled:     {"the transfer stood still", "it was tried again for as long as was allowed; look at the network and at the store's load"},
	Throttled:   {"the store wants fewer requests", "limit the bandwidth, or raise the store's limits"},
	Server:      {"the store has a fault of its own", "it was tried again for as long as was allowed; look at the store's log"},
	NoSpace:     {"no room is left", "free space or raise the quota, or let fewer backups be kept"},
	ReadOnly:    {"the file system is read-only", "mount it for writing; under systemd name it in ReadWritePaths= of the unit; the kernel's log says so if it became that by itself after a fault of the disk"},
	NotFound:    {"there is no such object", "verify the backup that needs it"},
	Exists:      {"there is an object with this name already", ""},
	TooBig:      {"the object is too large", "it is none of this repository's"},
	Replaces:    {"the store replaces objects that it was told to leave alone", "use a store with conditional writes (If-None-Match); a newer version of this one may have them"},
	Wrong:       {"the store does not give back what was written", "do not trust it with a backup; look at caches and proxies before it"},
	Refused:     {"the store refuses it", ""},
}

// Error says what it is in words.
func (c Code) Error() string { return meanings[c].text }

// Problem is what went wrong and what to do about it. Every error of this package is one, but for those of a context that ended
// and of a name that cannot be one. It never holds a secret.
type Problem struct {
	Code    Code
	Message string // what was done, and to what
	Hint    string // may be ""
	Err     error  // what the store or the system said, with secrets masked; may be nil
}

// Error says what is wrong.
func (p *Problem) Error() string {
	s := p.Code.Error()
	if p.Message != "" {
		s = p.Message + ": " + s
	}
	if p.Err != nil {
		s += ": " + p.Err.Error()
	}
	return s
}

// Unwrap gives the code, what package backup calls it, and the cause.
func (p *Problem) Unwrap() []error {
	all := []error{p.Code}
	switch p.Code {
	case NotFound:
		all = append(all, backup.ErrNotFound)
	case Exists:
		all = append(all, backup.ErrExists)
	}
	if p.Err != nil {
		all = append(all, p.Err)
	}
	return all
}

// Hint is what to do about an error of this package, "" for another's.
func Hint(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Hint
	}
	return ""
}

// CodeOf is an error's code, "" for one that is none of this package.
func CodeOf(err error) Code {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Code
	}
	return ""
}

func problem(code Code, err error, format string, args ...any) *Problem {
	return &Problem{Code: code, Message: fmt.Sprintf(format, args...), Hint: meanings[code].hint, Err: err}
}
