package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// keys lists the field names of JSON, nested ones with their path; of an array its first element's.
func keys(v any, path string) []string {
	var list []string
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			list = append(list, path+k)
			list = append(list, keys(inner, path+k+".")...)
		}
	case []any:
		if len(v) > 0 {
			list = keys(v[0], path)
		}
	}
	slices.Sort(list)
	return list
}

// fill sets every field, so that no omitempty hides one.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	}
}

func TestJSONFieldNames(t *testing.T) {
	var r Report
	fill(reflect.ValueOf(&r).Elem())
	var b bytes.Buffer
	if err := WriteJSON(&b, []Report{r}); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	got := keys(v, "")
	for _, promised := range []string{ // design/surface.md
		"scenario", "runs", "seed", "fence", "nodeos", "slots_due", "missed.total", "missed.p50", "missed.p99", "missed.max", "doubled", "unrecovered", "false_failovers",
		"first_block_ms.p50", "first_block_ms.p99", "first_block_ms.max", "baselines.name", "baselines.missed.total", "baselines.missed.p50", "baselines.missed.p99", "baselines.missed.max", "baselines.doubled",
	} {
		if !slices.Contains(got, promised) {
			t.Errorf("%q is promised and missing", promised)
		}
	}
	golden(t, "report-keys.txt", strings.Join(got, "\n")+"\n")
}

func TestJSONIsOneObjectOrAnArray(t *testing.T) {
	for n, first := range map[int]byte{1: '{', 2: '['} {
		var b bytes.Buffer
		if err := WriteJSON(&b, make([]Report, n)); err != nil || b.Bytes()[0] != first {
			t.Errorf("%d reports: %.20s, %v", n, b.String(), err)
		}
	}
	var alone, listed bytes.Buffer
	if err := (Report{}).WriteJSON(&alone); err != nil {
		t.Fatal(err)
	}
	if err := WriteJSON(&listed, []Report{{}}); err != nil || listed.String() != alone.String() {
		t.Errorf("method and function differ: %v", err)
	}
	for _, zero := range []string{`"doubled": 0`, `"unrecovered": 0`, `"false_failovers": 0`, `"total": 0`} { // what was not found is said, too
		if !strings.Contains(alone.String(), zero) {
			t.Errorf("%s is left out", zero)
		}
	}
}

func TestTable(t *testing.T) {
	ours := Report{
		Scenario: "partition-oneway", Runs: 200, SlotsDue: 123456, Missed: Distribution{12345, 6, 7, 60}, Lost: 12, Forks: 1, FirstBlockMs: Spread{P50: 12460, P99: 3, Max: 60000},
		Baselines: []Baseline{{Name: "leader signs", Missed: Distribution{900, 1, 9, 11}, Doubled: 41, Unrecovered: 3}, {Name: "keepalived", Missed: Distribution{Total: 5}}},
	}
	bad := Report{Scenario: "a name that is much too long", Runs: 1, Doubled: 1, Elsewhere: 2, Doubles: []Double{{Slot: 7, Signatures: []Signature{{Node: "m1", Num: 3, ID: "abc", SignedAt: "now"}}}},
		Outside: []Signature{{Node: "m2", Num: 3, Slot: 7, SignedAt: "then"}}, Failures: []string{"run 1: no"}}
	var b bytes.Buffer
	WriteTable(&b, []Report{ours, bad})
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	golden(t, "report-table.txt", b.String())
	for _, reports := range [][]Report{{ours}, {ours, bad}} {
		var file, want, got bytes.Buffer
		if err := WriteJSON(&file, reports); err != nil {
			t.Fatal(err)
		}
		read, err := ReadJSON(&file)
		if err != nil {
			t.Fatal(err)
		}
		WriteTable(&want, reports)
		WriteTable(&got, read)
		if got.String() != want.String() {
			t.Errorf("read again:\n%s\nwant:\n%s", got.String(), want.String())
		}
		if len(reports) == 2 {
			got.Reset()
			if err := WriteMarkdown(&got, read); err != nil {
				t.Fatal(err)
			}
			golden(t, "report-table.md", got.String())
		}
	}
	for _, text := range []string{"", "[", "[{}]", `{"scenario":"mix"}`, `"mix"`} {
		if _, err := ReadJSON(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken for a report", text)
		}
	}
}

func TestOK(t *testing.T) {
	if !(Report{Missed: Distribution{Total: 9}, Lost: 3, FalseFailovers: 1, Elsewhere: 1}).OK() {
		t.Error("missed slots alone failed a drill")
	}
	for i, r := range []Report{{Doubled: 1}, {Unrecovered: 1}, {Forks: 1}, {Outside: []Signature{{}}}, {Failures: []string{"x"}}} {
		if r.OK() || r.clean() {
			t.Errorf("report %d passed", i)
		}
	}
	if (Report{Elsewhere: 1}).clean() || (Report{FalseFailovers: 1}).clean() || !(Report{}).clean() {
		t.Error("clean")
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "äöüä": "äö…", "": ""} {
		if got := cut(in, 3); got != want {
			t.Errorf("%q: %q", in, fmt.Sprint(got))
		}
	}
}
