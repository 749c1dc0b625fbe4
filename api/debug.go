package api

import (
	_ "embed" // the API's description
	"net/http"
	"net/http/pprof"
	"runtime"
	profiles "runtime/pprof"
	"strconv"
	"time"

	"roundtable/fsm"
)

//go:embed openapi.yaml
var openAPI []byte

// getOpenAPI shows the description of this API. It is written by hand; tests hold routes and answers to it.
func (s *Server) getOpenAPI(*http.Request) (answer, error) {
	return answer{body: verbatim{"application/yaml", openAPI}}, nil
}

func (s *Server) getVersion(*http.Request) (answer, error) {
	return answer{body: Version{Version: s.cfg.Version, Go: runtime.Version(), EntryVersion: fsm.EntryVersion}}, nil
}

// maxProfile bounds a profile that takes time.
const maxProfile = 5 * time.Minute

// getProfile shows what the program does: runtime/pprof, for go tool pprof.
func (s *Server) getProfile(w http.ResponseWriter, r *http.Request) error {
	if q := r.URL.Query().Get("seconds"); q != "" {
		if n, err := strconv.ParseFloat(q, 64); err != nil || !(n > 0) || n > maxProfile.Seconds() { // which NaN is not
			return badInput("such as ?seconds=30", "seconds must be a number up to %v, not %.32q", maxProfile.Seconds(), q)
		}
	}
	shown(w, maxProfile+writeTime)
	switch name := r.PathValue("name"); name {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		if name != "" && profiles.Lookup(name) == nil {
			return &Error{Status: http.StatusNotFound, Code: "unknown_path", Message: "there is no such profile", Hint: "GET /debug/pprof/ lists them"}
		}
		pprof.Index(w, r)
	}
	return nil
}
