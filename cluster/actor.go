package cluster

import "context"

type actorKey struct{}

// WithActor names on whose behalf a change is made, such as "token:alice": Propose, Remove and TransferLeadership take it
// from the context into the history. It is dropped silently where the log cannot carry it yet (fsm.State.NamesActor).
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// Actor is the name that WithActor gave; "" for none.
func Actor(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}
