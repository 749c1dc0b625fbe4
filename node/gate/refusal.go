package gate

import (
	"encoding/json"
	"fmt"
	"time"

	"roundtable/chain"
)

// Why a request got no signature. The names are a contract: metrics labels, log values, and what nodeos writes into its
// own log.
const (
	ReasonNoLease        = "no_lease"        // no permit: pause the node at once [L1]
	ReasonClosed         = "closed"          // the permit's epoch was closed here: release or transfer was proposed [S1]
	ReasonSealed         = "sealed"          // an alarm closed the gate for good [S10]
	ReasonOutOfRange     = "out_of_range"    // the slot is outside First..Last
	ReasonBelowHighest   = "below_highest"   // the slot is not above the highest recorded one
	ReasonNoLine         = "no_line"         // nodeos has not (completely) announced a block in this run
	ReasonStaleLine      = "stale_line"      // the announced block was aborted, finished, or its announcement is in doubt [S7]
	ReasonNotOurs        = "not_ours"        // the announced block is another producer's
	ReasonTooFarAhead    = "too_far_ahead"   // the announced slot is more than MaxAhead past the clock
	ReasonDigestMismatch = "digest_mismatch" // Savanna: the digest names another block number [S5]
	ReasonSecondDigest   = "second_digest"   // this announced block already has another digest [L8]
	ReasonWrongKey       = "wrong_key"       // a key the signer does not hold
	ReasonBadRequest     = "bad_request"     // not what nodeos sends
	ReasonSignerError    = "signer_error"    // the signer failed or was too slow; the slot counts as signed [S4]
	ReasonClientGone     = "client_gone"     // nodeos hung up before the decision; nothing was recorded [S6]
)

// reasons are all of them.
var reasons = []string{
	ReasonNoLease, ReasonClosed, ReasonSealed, ReasonOutOfRange, ReasonBelowHighest, ReasonNoLine, ReasonStaleLine, ReasonNotOurs,
	ReasonTooFarAhead, ReasonDigestMismatch, ReasonSecondDigest, ReasonWrongKey, ReasonBadRequest, ReasonSignerError, ReasonClientGone,
}

// Refusal is a request that got no signature.
type Refusal struct {
	Reason string     `json:"reason"`
	Detail string     `json:"detail,omitempty"` // for people
	Slot   chain.Slot `json:"slot,omitempty"`   // of the announced block, where known
	Num    uint32     `json:"num,omitempty"`
	Digest string     `json:"digest,omitempty"` // 64 hex digits
	Key    string     `json:"key,omitempty"`    // EOS...
	At     time.Time  `json:"at"`
}

// Error makes a Refusal an error, as it stands in nodeos' log.
func (r Refusal) Error() string { return fmt.Sprintf("signing refused: %s: %s", r.Reason, r.Detail) }

// body is the EOSIO error JSON: with status 500 its code, name, what and details[].message stand in nodeos' own log
// (fact 42). It must never contain a signature: nodeos would take it whatever the status (fact 41).
func (r Refusal) body() []byte {
	type detail struct {
		Message string `json:"message"`
		File    string `json:"file"`
		Line    int    `json:"line_number"`
		Method  string `json:"method"`
	}
	type info struct {
		Code    int      `json:"code"`
		Name    string   `json:"name"`
		What    string   `json:"what"`
		Details []detail `json:"details"`
	}
	b, err := json.Marshal(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Error   info   `json:"error"`
	}{500, "Internal Service Error", info{3120003, r.Reason, "signing refused by the slot lease gate",
		[]detail{{r.Detail, "gate", 0, "sign"}}}})
	if err != nil { // cannot happen: strings and numbers only
		return []byte("{}")
	}
	return b
}
