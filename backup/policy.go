package backup

import (
	"cmp"
	"slices"
	"time"
)

// Policy says which backups are kept. Each rule keeps some of every kind, and what no rule keeps has expired; without any rule
// everything is kept. Bytes then takes away the oldest until what is left fits.
type Policy struct {
	Last    int           // so many, the newest
	Daily   int           // the newest of each of so many days (UTC) that have one
	Weekly  int           // likewise for ISO weeks
	Monthly int           // likewise for months
	Within  time.Duration // all that are not older
	Bytes   int64         // no more bytes than this, of all kinds together
}

// Kept is a good backup as a Policy looks at it.
type Kept struct {
	ID      string
	Kind    string
	Created int64 // Unix ms
	Stored  int64 // bytes
	Pinned  bool  // never expires, and counts for no rule but Bytes
}

// Expired gives the ids that no rule keeps, oldest first. The newest of each kind never expires, nor does a pinned one.
func (p Policy) Expired(all []Kept, now time.Time) []string {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Kept) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(b.ID, a.ID)) // newest first
	})
	newest, keep := p.rules(sorted, now)
	if p.Bytes > 0 {
		var sum int64
		for _, k := range sorted {
			if keep[k.ID] {
				sum += k.Stored
			}
		}
		for _, k := range slices.Backward(sorted) {
			if sum > p.Bytes && keep[k.ID] && !k.Pinned && !newest[k.ID] {
				delete(keep, k.ID)
				sum -= k.Stored
			}
		}
	}
	var expired []string
	for _, k := range slices.Backward(sorted) {
		if !keep[k.ID] {
			expired = append(expired, k.ID)
		}
	}
	return expired
}

// rules gives the newest of each kind, and all that a rule other than Bytes keeps. The newest come first in sorted.
func (p Policy) rules(sorted []Kept, now time.Time) (newest, keep map[string]bool) {
	newest, keep = map[string]bool{}, map[string]bool{}
	kinds := map[string]*tally{}
	none := p.Last <= 0 && p.Daily <= 0 && p.Weekly <= 0 && p.Monthly <= 0 && p.Within <= 0
	for _, k := range sorted {
		t := kinds[k.Kind]
		if t == nil {
			t = &tally{}
			kinds[k.Kind] = t
			newest[k.ID], keep[k.ID] = true, true
		}
		if k.Pinned || none {
			keep[k.ID] = true
		}
		if k.Pinned {
			continue
		}
		at := time.UnixMilli(k.Created).UTC()
		year, week := at.ISOWeek()
		last := t.last < p.Last
		t.last++
		day := t.day.first(p.Daily, at.Year()*1000+at.YearDay())
		inWeek := t.week.first(p.Weekly, year*100+week)
		month := t.month.first(p.Monthly, at.Year()*100+int(at.Month()))
		if last || day || inWeek || month || p.Within > 0 && now.Sub(at) <= p.Within {
			keep[k.ID] = true
		}
	}
	return newest, keep
}

// tally is what the rules have kept of one kind so far.
type tally struct {
	last             int
	day, week, month period
}

// period counts the days, weeks or months that had a backup.
type period struct {
	count, latest int
}

// first reports whether a backup of this period is the newest of one of the latest n that have any.
func (p *period) first(n, of int) bool {
	if p.count > 0 && p.latest == of {
		return false
	}
	p.latest = of
	p.count++
	return p.count <= n
}
