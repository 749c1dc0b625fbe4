package api

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// restartRequest is the body of POST /cluster/restart: one member, or all of them one after another.
type restartRequest struct {
	Member  string `json:"member"`
	Rolling bool   `json:"rolling"`
	Limit   string `json:"limit"` // that a member may take, from the stop to the proof that it is back; "": as configured
	Queue   string `json:"queue"` // to wait so long for the operation before it; "": be refused then
}

// upgradeRequest is the body of POST /cluster/upgrade.
type upgradeRequest struct {
	Tag      string    `json:"tag"`
	SHA256   string    `json:"sha256"`
	AtBlock  uint32    `json:"at_block"`
	Feature  string    `json:"feature"`
	Row      *TableRow `json:"row"`
	HardFork bool      `json:"hard_fork"`
	Undo     string    `json:"undo"` // member (the default), all
	Snapshot bool      `json:"snapshot"`
	Members  []string  `json:"members"` // empty: all that have a node
	Limit    string    `json:"limit"`
	Queue    string    `json:"queue"`
}

// rolloutRequest is the body of POST /cluster/rollout.
type rolloutRequest struct {
	Limit string `json:"limit"`
	Queue string `json:"queue"`
}

// Bounds of a rolling operation's request.
const (
	minLimit = time.Second
	maxLimit = fsm.MaxStep * time.Millisecond
	maxQueue = fsm.MaxWait * time.Millisecond // of an upgrade, which may be asked for long before
)

func (s *Server) postRestart(r *http.Request) (answer, error) {
	var body restartRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if (body.Member != "") == body.Rolling {
		return answer{}, badInput(`{"member":"m2"} restarts one node, {"rolling":true} all of them, one after another`, `one of "member" and "rolling" must be given`)
	}
	limit, queue, err := patience(body.Limit, body.Queue, maxLimit)
	if err == nil && body.Member != "" {
		err = s.known(body.Member)
	}
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Restart(ctx, control.RestartRequest{Member: body.Member, Limit: limit, Queue: queue}, key)
	})
}

func (s *Server) postUpgrade(r *http.Request) (answer, error) {
	var body upgradeRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	limit, queue, err := patience(body.Limit, body.Queue, maxQueue)
	if err == nil {
		err = s.checkUpgrade(body)
	}
	if err != nil {
		return answer{}, err
	}
	u := fsm.Upgrade{
		Tag: body.Tag, SHA256: strings.ToLower(body.SHA256), AtBlock: body.AtBlock, Feature: body.Feature, HardFork: body.HardFork,
		UndoAll: body.Undo == UndoAll, Snapshot: body.Snapshot,
	}
	if body.Row != nil {
		row := fsm.TableRow(*body.Row)
		u.Row = &row
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Upgrade(ctx, control.UpgradeRequest{Upgrade: u, Members: body.Members, Limit: limit, Queue: queue}, key)
	})
}

func (s *Server) postRollout(r *http.Request) (answer, error) {
	var body rolloutRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	limit, queue, err := patience(body.Limit, body.Queue, maxLimit)
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Rollout(ctx, limit, queue, key)
	})
}

// patience reads how long a member may take and how long the operation may wait for its turn; 0 where nothing is said.
func patience(limit, queue string, most time.Duration) (l, q time.Duration, err error) {
	if l, err = lengthOf("limit", limit, minLimit, maxLimit); err != nil {
		return 0, 0, err
	}
	q, err = lengthOf("queue", queue, minLimit, most)
	return l, q, err
}

// What a version may be called (node/versions says it too), and a checksum.
var (
	tagPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+-]{0,63}$`)
	sumPattern = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// checkUpgrade refuses what no cluster could do, and what was mistyped: it must not get into the log.
func (s *Server) checkUpgrade(u upgradeRequest) error {
	triggers := 0
	for _, is := range []bool{u.AtBlock != 0, u.Feature != "", u.Row != nil} {
		if is {
			triggers++
		}
	}
	switch {
	case !tagPattern.MatchString(u.Tag):
		return badInput("a version looks like v1.2.2: at most 64 letters, digits and . _ + -, a letter or digit first", `"tag" must be a version, not %.64q`, u.Tag)
	case u.SHA256 != "" && !sumPattern.MatchString(u.SHA256):
		return badInput("of the file that is fetched: sha256sum FILE", `"sha256" must be 64 hex digits`)
	case triggers > 1:
		return badInput("an upgrade waits for one of them, or begins at once", `only one of "at_block", "feature" and "row" may be given`)
	case u.HardFork && u.AtBlock == 0:
		return badInput(`give "at_block": the block at which all nodes stop and are switched`, "a hard fork needs its block")
	case u.Undo != "" && u.Undo != UndoMember && u.Undo != UndoAll:
		return badInput(`"member" brings back the one that failed, "all" those that were through as well`, `"undo" must be "member" or "all", not %.32q`, u.Undo)
	case u.HardFork && u.Undo == UndoAll:
		return badInput("behind the block of a hard fork the old version is of no use", `a hard fork takes no "undo" of "all"`)
	case u.HardFork && u.Snapshot:
		return badInput("have one made before it", `a hard fork takes no "snapshot"`)
	case u.Row != nil && (u.Row.Code == "" || u.Row.Table == "" || u.Row.Field == ""):
		return badInput(`such as {"code":"eosio","scope":"eosio","table":"global","key":"","field":"flag","value":"1"}`, `"row" needs "code", "table" and "field"`)
	}
	for _, text := range []string{u.Feature, rowText(u.Row)} {
		if len(text) > maxTrigger || strings.ContainsFunc(text, unicode.IsControl) {
			return badInput("names of a chain are short", "what the upgrade waits for has %d bytes, or control characters: at most %d are taken, and none of those", len(text), maxTrigger)
		}
	}
	for i, id := range u.Members {
		if err := s.known(id); err != nil {
			return err
		}
		for _, other := range u.Members[:i] {
			if other == id {
				return badInput("name each once", "the member %q is named twice", id)
			}
		}
	}
	return nil
}

// maxTrigger bounds what an upgrade waits for, in bytes.
const maxTrigger = 512

// rowText is a row as the command line takes it; "" for none.
func rowText(r *TableRow) string {
	if r == nil {
		return ""
	}
	return r.Code + "/" + r.Scope + "/" + r.Table + "/" + r.Key + "/" + r.Field + "=" + r.Value
}
