package node

import (
	"bufio"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"roundtable/chain"
)

func slotOf(t testing.TB, s string) chain.Slot {
	t.Helper()
	at, ok := parseTime(s)
	if !ok {
		t.Fatalf("bad time %q", s)
	}
	return chain.SlotAt(at.UnixMilli())
}

func TestParseLogLine(t *testing.T) {
	for _, c := range []struct {
		text string
		want LogLine
	}{
		{"info  2026-11-21T00:33:01.270 nodeos    main.cpp:158                  main                 ] nodeos started",
			LogLine{slog.LevelInfo, time.Date(2026, 11, 21, 0, 33, 1, 270e6, time.UTC), "nodeos", "main.cpp", 158, "main", "nodeos started"}},
		{"<4>warn  2026-11-21T00:33:51.200 nodeos    producer_plugin.cpp:2090      determine_pending_bl ] Not producing",
			LogLine{slog.LevelWarn, time.Date(2026, 11, 21, 0, 33, 51, 200e6, time.UTC), "nodeos", "producer_plugin.cpp", 2090, "determine_pending_bl", "Not producing"}},
		{"error 2026-11-21T00:43:10.853 resmon-0  file_space_handler.hpp:97     is_threshold_exceede ] a ] b",
			LogLine{slog.LevelError, time.Date(2026, 11, 21, 0, 43, 10, 853e6, time.UTC), "resmon-0", "file_space_handler.hpp", 97, "is_threshold_exceede", "a ] b"}},
		{"info  2021-03-02T10:00:00.123 thread-0  producer_plugin.cpp:123 produce_block ] Produced block",
			LogLine{slog.LevelInfo, time.Date(2021, 3, 2, 10, 0, 0, 123e6, time.UTC), "thread-0", "producer_plugin.cpp", 123, "produce_block", "Produced block"}},
		{"info  2026-11-21T00:33:01.270 nodeos    main.cpp:69                   log_non_default_opti ] ",
			LogLine{slog.LevelInfo, time.Date(2026, 11, 21, 0, 33, 1, 270e6, time.UTC), "nodeos", "main.cpp", 69, "log_non_default_opti", ""}},
	} {
		if got, ok := ParseLogLine(c.text); !ok || got != c.want {
			t.Errorf("%q: %v %+v", c.text, ok, got)
		}
	}
	for _, bad := range []string{
		"", "rethrow", "    {}", "info", "info  2026-13-21T00:33:01.270 nodeos    main.cpp:158 main ] x", "appbase: exception thrown",
		"infos 2026-11-21T00:33:01.270 nodeos    main.cpp:158 main ] x", "info  2026-11-21T00:33:01.270 nodeos    main.cpp main ] x",
		"info  2026-11-21T00:33:01.270 nodeos    main.cpp:158 main x", "Database dirty flag set",
	} {
		if got, ok := ParseLogLine(bad); ok {
			t.Errorf("%q was taken as %+v", bad, got)
		}
	}
}

func FuzzParseLogLine(f *testing.F) {
	file, err := os.Open("testdata/lines.txt")
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for in := bufio.NewScanner(file); in.Scan(); {
		f.Add(in.Text())
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := ParseLogLine(Mask(s))
		if !ok {
			return
		}
		if l.File == "" || l.Thread == "" || l.Func == "" || !strings.HasSuffix(s+" ", l.Message) && Mask(s) == s && !strings.HasSuffix(s, l.Message) {
			t.Errorf("%q: %+v", s, l)
		}
		eventOf(l)
	})
}

// TestEventsOfRecordedLines reads lines of real runs and counts what they tell.
func TestEventsOfRecordedLines(t *testing.T) {
	var events []Event
	p := NewPipeline(PipelineConfig{OnEvent: func(e Event) { events = append(events, e) }})
	file := must[*os.File](t)(os.Open("testdata/lines.txt"))
	defer func() { _ = file.Close() }()
	if err := p.Read("stderr", file); err != nil {
		t.Fatal(err)
	}
	p.Close()
	first := map[EventKind]Event{}
	n := map[EventKind]int{}
	for _, e := range events {
		if n[e.Kind]++; n[e.Kind] == 1 {
			first[e.Kind] = e
		}
	}
	for kind, at := range map[EventKind]int{
		EventStarted: 2, EventReceived: 3, EventPaused: 2, EventDoubleProduced: 1, EventForkSwitch: 1, EventStaleHead: 3,
		EventForked: 1, EventSpaceWarning: 3, EventExiting: 1, EventProduceFailed: 2, EventChainStarted: 1, EventNotProducing: 10,
	} {
		if n[kind] != at {
			t.Errorf("%s: %d events, want %d", kind, n[kind], at)
		}
	}
	if e := first[EventReceived]; e.Block != (chain.Block{Slot: slotOf(t, "2026-11-21T00:33:02.000"), Num: 2, ID: "b014fdb5e1af4e9b"}) ||
		e.Producer != "eosio" || e.LIB != 0 || e.Latency < time.Second || e.Stream != "stderr" {
		t.Errorf("received: %+v", e)
	}
	if e := first[EventNotProducing]; e.Reason != "production is explicitly paused" || e.Block.Slot != slotOf(t, "2026-11-21T00:33:52.000") {
		t.Errorf("not producing: %+v", e)
	}
	if e := first[EventDoubleProduced]; e.Producer != "prodbbbb" || e.Block.Num != 113 {
		t.Errorf("double produced: %+v", e)
	}
	if e := first[EventProduceFailed]; e.Reason != "3120003 no_lease" || e.Level != slog.LevelWarn {
		t.Errorf("produce failed: %+v", e)
	}
	if s := p.Stats(); s.Unknown > 1 { // one line stands alone in the excerpt
		t.Errorf("%d unknown lines", s.Unknown)
	}
}

func TestBlockEvents(t *testing.T) {
	for _, c := range []struct {
		msg  string
		want Event
	}{
		{"Produced block f5687976592d9e2f... #55 @ 2026-11-21T00:37:38.000 signed by eosio [trxs: 3, lib: 54, confirmed: 0, net: 0, cpu: 100 us, elapsed: 33 us, producing time: 462 us]",
			Event{Kind: EventProduced, Block: chain.Block{Slot: slotOf(t, "2026-11-21T00:37:38.000"), Num: 55, ID: "f5687976592d9e2f"}, Producer: "eosio", LIB: 54, Transactions: 3}},
		{"Received block 86839b0042e89e11... #112 @ 2026-11-21T00:33:59.000 signed by eosio [trxs: 0, lib: 111, net: 0, cpu: 100 us, elapsed: 44 us, applying time: 216 us, latency: -411 ms]",
			Event{Kind: EventReceived, Block: chain.Block{Slot: slotOf(t, "2026-11-21T00:33:59.000"), Num: 112, ID: "86839b0042e89e11"}, Producer: "eosio", LIB: 111, Latency: -411 * time.Millisecond}},
	} {
		got, ok := eventOf(LogLine{Message: c.msg})
		c.want.Message = c.msg
		if !ok || got != c.want {
			t.Errorf("%v %+v", ok, got)
		}
	}
	for _, bad := range []string{"Produced block x... #1 @ 2026-11-21T00:33:59.000 signed by a [", "Produced block f5687976592d9e2f... #x @", "Not producing block because", "Produced block "} {
		if e, ok := eventOf(LogLine{Message: bad}); ok {
			t.Errorf("%q gave %+v", bad, e)
		}
	}
}

func TestMask(t *testing.T) {
	const wif = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3" // the well-known development key
	for in, want := range map[string]string{
		`Malformed signature provider: "EOS7y=KEY:` + wif + `": {"x":1}`: `Malformed signature provider: "EOS7y=KEY:***": {"x":1}`,
		"signature-provider = EOS6=KEY:***":                              "signature-provider = EOS6=KEY:***",
		"bare " + wif + " end":                                           "bare *** end",
		`{"spec":"` + wif[:30]:                                           `{"spec":"***`,
		"PVT_K1_2bfGi9rYsXQSXXTvJbDAPhHLQUojjaNLomdm3cEJ1XTzMqUt3V,":     "***,",
		"PVT_BLS_abc-_9=":                                                "***",
		"x=KEY:PVT_BLS_abc":                                              "x=KEY:***",
		"KEOSD:unix:///run/x.sock EOS5":                                  "KEOSD:unix:///run/x.sock EOS5",
		"block 5Kabc":                                                    "block 5Kabc",
		"] Non-default options: http-alias = secret, plugin = x":         "] Non-default options: ***",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
