package backup

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPolicy(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(day, hour int) int64 { return time.Date(2026, 2, day, hour, 0, 0, 0, time.UTC).UnixMilli() }
	var all []Kept // two a day, 1 to 28 February
	for day := 1; day <= 28; day++ {
		for _, hour := range []int{3, 15} {
			all = append(all, Kept{ID: fmt.Sprintf("%02d-%02d", day, hour), Kind: "data", Created: at(day, hour), Stored: 10})
		}
	}
	for _, c := range []struct {
		name string
		p    Policy
		kept []string
	}{
		{"last", Policy{Last: 3}, []string{"27-15", "28-03", "28-15"}},
		{"daily", Policy{Daily: 2}, []string{"27-15", "28-15"}},
		{"weekly", Policy{Weekly: 3}, []string{"15-15", "22-15", "28-15"}}, // Sundays, and the week that is not over
		{"monthly", Policy{Monthly: 12}, []string{"28-15"}},
		{"within", Policy{Within: 36 * time.Hour}, []string{"28-03", "28-15"}},
		{"together", Policy{Last: 1, Daily: 2, Weekly: 2}, []string{"22-15", "27-15", "28-15"}},
		{"bytes", Policy{Bytes: 35}, []string{"27-15", "28-03", "28-15"}},
		{"bytes of what is kept", Policy{Daily: 20, Bytes: 25}, []string{"27-15", "28-15"}},
		{"never the only one", Policy{Last: 5, Bytes: 1}, []string{"28-15"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var kept []string
			expired := c.p.Expired(all, now)
			for _, k := range all {
				if !slices.Contains(expired, k.ID) {
					kept = append(kept, k.ID)
				}
			}
			if !slices.Equal(kept, c.kept) {
				t.Errorf("%v, want %v", kept, c.kept)
			}
			if !slices.IsSorted(expired) {
				t.Errorf("not the oldest first: %v", expired)
			}
		})
	}
	if expired := (Policy{}).Expired(all, now); expired != nil {
		t.Errorf("without a rule %v", expired)
	}
}

// TestPolicyKeeps what it must, whatever it is given.
func TestPolicyKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		small := rapid.IntRange(-1, 4)
		p := Policy{
			Last: small.Draw(t, "last"), Daily: small.Draw(t, "daily"), Weekly: small.Draw(t, "weekly"), Monthly: small.Draw(t, "monthly"),
			Within: time.Duration(rapid.Int64Range(0, int64(60*24*time.Hour)).Draw(t, "within")), Bytes: rapid.Int64Range(0, 500).Draw(t, "bytes"),
		}
		all := make([]Kept, rapid.IntRange(0, 30).Draw(t, "count"))
		for i := range all {
			all[i] = Kept{
				ID: fmt.Sprint(i), Kind: rapid.SampledFrom([]string{"data", "snapshot"}).Draw(t, "kind"),
				Created: now.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(200*24*time.Hour)).Draw(t, "age"))).UnixMilli(),
				Stored:  rapid.Int64Range(0, 100).Draw(t, "stored"), Pinned: rapid.IntRange(0, 9).Draw(t, "pinned") == 0,
			}
		}
		expired := p.Expired(all, now)
		gone, kinds, newest, last := map[string]bool{}, map[string]int{}, map[string]Kept{}, map[string]int{}
		for _, id := range expired {
			if gone[id] {
				t.Fatalf("%s twice", id)
			}
			gone[id] = true
		}
		var sum int64
		removable := false
		for _, k := range all {
			if n, ok := newest[k.Kind]; !ok || k.Created > n.Created || k.Created == n.Created && k.ID > n.ID {
				newest[k.Kind] = k
			}
			if gone[k.ID] && k.Pinned {
				t.Fatalf("%+v is pinned", k)
			}
			kinds[k.Kind]++
			if !gone[k.ID] {
				sum += k.Stored
				last[k.Kind]++
			}
		}
		for _, k := range all {
			removable = removable || !gone[k.ID] && !k.Pinned && newest[k.Kind].ID != k.ID
			if p.Bytes <= 0 && p.Within > 0 && now.Sub(time.UnixMilli(k.Created)) <= p.Within && gone[k.ID] {
				t.Fatalf("%+v is young", k)
			}
		}
		for kind, n := range newest {
			if gone[n.ID] {
				t.Fatalf("the newest %s has expired", kind)
			}
			if p.Bytes <= 0 && last[kind] < min(p.Last, kinds[kind]) {
				t.Fatalf("%d of kind %s are left of %d", last[kind], kind, kinds[kind])
			}
		}
		if p.Bytes > 0 && sum > p.Bytes && removable {
			t.Fatalf("%d bytes are left, and one that could go", sum)
		}
		// What is left stays: a policy applied twice does no more.
		left := slices.DeleteFunc(slices.Clone(all), func(k Kept) bool { return gone[k.ID] })
		if again := p.Expired(left, now); len(again) > 0 && p.Bytes <= 0 {
			t.Fatalf("at a second time %v", again)
		}
	})
}
