package control

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"roundtable/fsm"
)

// memberController keeps this member's record in the state: at each process start it brings the new incarnation, without
// which nothing is granted.
type memberController struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*memberController) Name() string { return "member" }

// Reconcile proposes the record where the state has another.
func (c *memberController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	want := c.record
	if c.node != nil {
		n := c.node.View()
		want.Node, want.Finalizers = n.Version, n.Finalizers
	}
	have, known := s.Members[c.id]
	want.Joined, want.Maintenance = have.Joined, have.Maintenance
	if known && have.Incarnation == want.Incarnation {
		want.Priority, want.NoFailover = have.Priority, have.NoFailover // an operator may have changed them since the start
	}
	if reflect.DeepEqual(have, want) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.PutMember{Member: want}, "")
	if errors.Is(err, fsm.ErrFinalizer) && c.onFatal != nil {
		c.onFatal(err) // a paused node still votes: this one must not run
	}
	if err == nil && (!known || have.Incarnation != want.Incarnation) {
		c.log.Info("joined", "member", c.id)
	}
	return 0, err
}

// configController writes the cluster's first configuration; it runs only while this member leads.
type configController struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*configController) Name() string { return "config" }

// Reconcile proposes the configuration that this manager was started with where the cluster has none.
func (c *configController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	want := s.Cluster
	if want.Name == "" {
		want = c.first
	}
	if want.ChainID == "" && c.node != nil {
		want.ChainID = c.node.View().ChainID
	}
	if want.Name == "" || reflect.DeepEqual(want, s.Cluster) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.SetCluster{Cluster: want}, "")
	return 0, err
}
