package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// campaignOf makes up reports as a drill with baselines gives them.
func campaignOf(runs int) []Report {
	event := func(run int, twice bool) Event {
		first := uint64(1697177000 + 60*run)
		e := Event{Run: run, What: "kill-holder", Fault: "SIGKILL to manager and node of m1", From: "m1", To: "m2", FirstSlot: first + 4, LastSlot: first + 40, PhaseMs: run % 500,
			At: slotTime(first + 4).Add(time.Duration(run%500) * time.Millisecond), RecoveredAt: slotTime(first + 30), Missed: run % 5, FirstBlockMs: 2000 + run}
		var ledger []Signature
		var chain []ChainBlock
		for s := first; s <= first+40; s++ {
			node := "m1"
			switch {
			case s >= first+5 && s < first+5+uint64(run%5):
				e.MissedSlots = append(e.MissedSlots, s)
				if s == first+5 {
					ledger = append(ledger, Signature{Slot: s, Node: "m1", ID: "lost"})
				}
				continue
			case s > first+5:
				node = "m2"
			}
			ledger = append(ledger, Signature{Slot: s, Node: node, ID: fmt.Sprint(s)})
			chain = append(chain, ChainBlock{Slot: s, ID: fmt.Sprint(s)})
			if twice && s > first+20 && s < first+25 {
				ledger = append(ledger, Signature{Slot: s, Node: "m3", ID: fmt.Sprint("other", s)})
				e.Doubled++
			}
		}
		epochs := []EpochSpan{{Epoch: 7, Holder: "m1", First: first - 20, Last: first + 6}, {Epoch: 8, Holder: "m2", First: first + 7, Last: first + 400}}
		if twice {
			epochs = nil
		}
		tl := timeline(e, ledger, chain, epochs, first, first+40)
		e.Timeline = &tl
		return e
	}
	r := Report{Scenario: "kill-holder", Runs: runs, Seed: 7, Fence: "gate", Nodeos: "simnodeos", SlotsDue: 41 * runs}
	leader, vrrp := Report{System: "leader signs"}, Report{System: "keepalived"}
	for run := 1; run <= runs; run++ {
		r.Events = append(r.Events, event(run, false))
		leader.Events = append(leader.Events, event(run, true))
		vrrp.Events = append(vrrp.Events, event(run, run%2 == 0))
	}
	for _, b := range []*Report{&r, &leader, &vrrp} {
		for _, e := range b.Events {
			b.Missed.Total += e.Missed
			b.Doubled += e.Doubled
		}
		b.sum()
	}
	r.addBaseline(leader)
	r.addBaseline(vrrp)
	return []Report{r}
}

func TestHTMLNeedsNothingFromElsewhere(t *testing.T) {
	var b bytes.Buffer
	if err := WriteHTML(&b, campaignOf(200)); err != nil {
		t.Fatal(err)
	}
	if name := os.Getenv("DRILL_HTML"); name != "" { // to look at it
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := b.String()
	if found := regexp.MustCompile(`(?i)(https?:|@import|url\(|\bsrc\s*=|<link)`).FindString(text); found != "" {
		t.Errorf("the page has %q in it", found)
	}
	for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], "#") {
			t.Errorf("the page refers to %q", m[1])
		}
	}
	if len(text) > 1<<20 { // a scenario with two baselines; fifteen may come
		t.Errorf("600 runs take %d bytes", len(text))
	}
	plots := regexp.MustCompile(`(?s)id="plots">(.*?)</script>`).FindStringSubmatch(text)
	if plots == nil {
		t.Fatal("no plots")
	}
	var list []Timeline
	if err := json.Unmarshal([]byte(plots[1]), &list); err != nil || len(list) != 600 {
		t.Errorf("%d plots, %v", len(list), err)
	}
	if n := strings.Count(text, "data-plot="); n != 600 {
		t.Errorf("%d runs have a plot", n)
	}
	if n := strings.Count(text, " open>"); n != 3*openRuns {
		t.Errorf("%d runs are open", n)
	}
}

func TestHTMLEscapes(t *testing.T) {
	const evil = `</script><script>alert(1)</script>"'&`
	e := Event{What: evil, From: evil, To: evil, Failure: evil, Timeline: &Timeline{Members: []string{evil}, Signed: []string{"."}, Chain: "."}}
	r := Report{Scenario: evil, System: evil, Nodeos: evil, Failures: []string{evil}, Outside: []Signature{{Node: evil}}, Events: []Event{e}, Baselines: []Baseline{{Name: evil, Events: []Event{e}}}}
	var clean, b bytes.Buffer
	if err := WriteHTML(&clean, []Report{{}}); err != nil {
		t.Fatal(err)
	}
	if err := WriteHTML(&b, []Report{r}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "alert(1)</script>") || strings.Count(b.String(), "<script") != strings.Count(clean.String(), "<script") {
		t.Error("text became markup")
	}
	plots := regexp.MustCompile(`(?s)id="plots">(.*?)</script>`).FindStringSubmatch(b.String())
	var list []Timeline
	if err := json.Unmarshal([]byte(plots[1]), &list); err != nil || len(list) != 2 || list[0].Members[0] != evil {
		t.Errorf("%v, %v", list, err)
	}
}

func TestWorstRunsComeFirst(t *testing.T) {
	var got []int
	for _, e := range worstFirst([]Event{{Run: 1}, {Run: 2, Missed: 3}, {Run: 3, Missed: 9}, {Run: 4, Failure: "x"}, {Run: 5, Doubled: 1}, {Run: 6, FirstBlockMs: 5}}) {
		got = append(got, e.Run)
	}
	if !slices.Equal(got, []int{5, 4, 3, 2, 6, 1}) {
		t.Errorf("%v", got)
	}
}
