package cluster

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// BenchmarkRaftFolder extends a lease b.N times (-benchtime 1000000x) with the real stores, as fast as they take it, and
// reports how large the raft folder ever was. The slots are made up: no clock is waited for.
func BenchmarkRaftFolder(b *testing.B) {
	g := &group{t: b, ca: newCA(b), members: map[string]*Cluster{}, configs: map[string]Config{}}
	cfg := g.config("m1")
	stores, err := fileStores(cfg.Dir, raftLogger(slog.New(slog.DiscardHandler)), true)
	if err != nil {
		b.Fatal(err)
	}
	cfg.Stores = stores
	c := g.start(cfg)
	defer g.stop("m1")
	g.leader()
	inc := fmt.Sprintf("%032d", 1)
	propose(b, c, fsm.PutMember{Member: fsm.Member{ID: "m1", Incarnation: inc, EntryVersion: fsm.EntryVersion}})
	now := time.Now().UnixMilli()
	last := chain.SlotAt(now)
	propose(b, c, fsm.Grant{Epoch: 1, Holder: "m1", Incarnation: inc, First: last, Last: last})
	accepted := 0
	var largest int64
	futures := make(chan raft.ApplyFuture, 512) // in the order of the log: each extension is beyond the one before
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(futures)
		for range b.N {
			last++
			data, err := fsm.Encode(fsm.Entry{At: now, By: "m1", Command: fsm.Extend{Epoch: 1, Incarnation: inc, Last: last}})
			if err != nil {
				b.Error(err)
				return
			}
			futures <- c.raft.Apply(data, 0)
		}
	})
	wg.Go(func() {
		for f := range futures {
			if err := f.Error(); err != nil {
				b.Error(err)
			} else if f.Response().(applied).Err == nil {
				accepted++
			}
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-ticker.C:
		}
		largest = max(largest, folderSize(c.cfg.Dir))
	}
	b.StopTimer()
	b.ReportMetric(float64(largest)/(1<<20), "MiB-largest")
	b.ReportMetric(float64(folderSize(c.cfg.Dir))/(1<<20), "MiB-last")
	if accepted != b.N {
		b.Errorf("%d of %d extensions accepted", accepted, b.N)
	}
	if largest > 32<<20 {
		b.Errorf("the raft folder grew to %d bytes", largest)
	}
}

// BenchmarkPropose measures a proposal's latency on a group of three, until it is applied on the proposer.
func BenchmarkPropose(b *testing.B) {
	g := newGroup(b, 3)
	for _, where := range []string{"leader", "follower"} {
		b.Run(where, func(b *testing.B) {
			c := g.leader()
			if where == "follower" {
				c = g.follower()
			}
			took := make([]time.Duration, 0, b.N)
			for i := range b.N {
				start := time.Now()
				propose(b, c, alarm(fmt.Sprint(i)))
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkIdle measures what a group of three costs per member with a live lease's traffic: two entries and two reports
// a second. Run it with -benchtime 1x; it takes ten seconds.
func BenchmarkIdle(b *testing.B) {
	g := newGroup(b, 3)
	c := g.follower()
	for range b.N {
		before, start := cpu(b), time.Now()
		for i := range 20 {
			for _, m := range g.members {
				m.Publish(health.Report{Node: "running"})
			}
			propose(b, c, alarm(fmt.Sprint(i)))
			time.Sleep(500 * time.Millisecond)
		}
		b.ReportMetric(100*float64(cpu(b)-before)/float64(time.Since(start))/3, "%core/member")
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
