package fsm

import (
	"errors"
	"fmt"
)

// Refusal is a command that the state did not accept. It is a deterministic result of applying an entry, equal on every
// member, and changes nothing but the applied index (and the memory of the idempotency key).
type Refusal struct {
	Rule    string `json:"rule"`           // stable name of the rule, such as "lease.epoch"
	Message string `json:"message"`        // what was wrong, with the values
	Hint    string `json:"hint,omitempty"` // what the operator can do
}

// Error returns the rule and the message.
func (r *Refusal) Error() string { return r.Rule + ": " + r.Message }

// Is makes two refusals of one rule the same error, so that errors.Is(err, ErrEpoch) holds for every message.
func (r *Refusal) Is(target error) bool {
	var t *Refusal
	return errors.As(target, &t) && t.Rule == r.Rule
}

// with returns the refusal with the values that led to it.
func (r *Refusal) with(format string, args ...any) *Refusal {
	return &Refusal{Rule: r.Rule, Message: clip(r.Message + ": " + fmt.Sprintf(format, args...)), Hint: r.Hint}
}

// The rules, each defined once. errors.Is compares by rule.
var (
	ErrEpoch       = &Refusal{"lease.epoch", "the epoch is not the one the rule asks for", "the lease moved on; look at it again and retry"}
	ErrIncarnation = &Refusal{"lease.incarnation", "the incarnation is not the one the lease was granted to", "the manager was restarted; it needs a new grant"}
	ErrReleased    = &Refusal{"lease.released", "the lease is released, which is final for its epoch", "wait for the next grant"}
	ErrRange       = &Refusal{"lease.range", "the slot range breaks a rule", ""}
	ErrHolder      = &Refusal{"lease.holder", "this member may not hold the lease", "choose a member that has a node and is not a witness"}
	ErrMember      = &Refusal{"member.unknown", "no such member", "list the members with: roundtable members"}
	ErrMemberBad   = &Refusal{"member.invalid", "the member's record is not valid", ""}
	ErrFinalizer   = &Refusal{"member.finalizer_key", "two members have the same BLS finalizer key", "give each node its own finalizer key: a paused node still votes"}
	ErrTooOld      = &Refusal{"member.entry_version", "the member's program is too old for what is in the log", "upgrade the program of that member"}
	ErrLastVoter   = &Refusal{"member.last", "the last member cannot be removed", ""}
	ErrHolds       = &Refusal{"member.holds", "the member holds the lease", "hand production over first: roundtable handoff"}
	ErrOperation   = &Refusal{"operation.unknown", "no such operation", "list them with: roundtable operations"}
	ErrAsked       = &Refusal{"operation.invalid", "this cannot be asked for", ""}
	ErrStep        = &Refusal{"operation.step", "the operation is not at this step", ""}
	ErrBusy        = &Refusal{"operation.busy", "another disruptive operation is under way", "wait for it or cancel it"}
	ErrEnded       = &Refusal{"operation.ended", "the operation has ended", ""}
	ErrDeadline    = &Refusal{"operation.deadline", "the step's deadline is not right for this", ""}
	ErrHandoff     = &Refusal{"handoff.refused", "the handoff cannot be done", ""}
	ErrBackup      = &Refusal{"backup.invalid", "the backup is not fit for this", "look at it: roundtable backup show"}
	ErrNoBackup    = &Refusal{"backup.unknown", "no such backup", "list them with: roundtable backup list"}
	ErrCatalogue   = &Refusal{"backup.full", "the catalogue is full", "let some expire, and sweep: roundtable backup rm, roundtable backup sweep"}
	ErrPlan        = &Refusal{"plan.invalid", "the plan cannot be so", ""}
	ErrNoPlan      = &Refusal{"plan.unknown", "no such plan", "list them with: roundtable plan list"}
	ErrRound       = &Refusal{"round.invalid", "the round record is not valid", ""}
	ErrRemoved     = &Refusal{"member.removed", "the member was removed by an operator", "invite it again: roundtable member add"}
	ErrToken       = &Refusal{"token.invalid", "the token is not valid", ""}
	ErrNoToken     = &Refusal{"token.unknown", "no such token", "list them with: roundtable token list"}
	ErrInviteBad   = &Refusal{"invite.invalid", "the invite is not valid", ""}
	ErrInvite      = &Refusal{"invite.unknown", "no such invite", "ask for a new one: roundtable member add"}
	ErrInviteUsed  = &Refusal{"invite.used", "the invite was used already", "if that was not you, find out who it was; ask for a new one: roundtable member add"}
	ErrInviteLate  = &Refusal{"invite.expired", "the invite has expired", "ask for a new one: roundtable member add"}
	ErrInviteWrong = &Refusal{"invite.mismatch", "the invite is not for this", "use the join text as it was printed, for the member that it was made for"}
	ErrConfig      = &Refusal{"config.invalid", "the cluster configuration is not valid", ""}
)
