package backup

import (
	"sync"
	"time"
)

// progress tells how far an operation is, not more often than somebody can read it. Its methods are safe for concurrent use,
// and say is called by one at a time.
type progress struct {
	mu   sync.Mutex
	say  func(Progress)
	p    Progress
	told time.Time
	last bool // the next one is told whatever the time
}

const tellEvery = 200 * time.Millisecond

func newProgress(say func(Progress), text string, total int64) *progress {
	p := &progress{say: say, p: Progress{Text: text, Total: total}, last: true}
	p.add(0, 0)
	return p
}

func (p *progress) add(done, stored int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Done += done
	p.p.Stored += stored
	p.p.Total = max(p.p.Total, p.p.Done)
	if p.p.Total > 0 {
		p.p.Percent = max(p.p.Percent, int(min(99, 100*float64(p.p.Done)/float64(p.p.Total))))
	}
	p.tell(time.Now())
}

// total tells how much there is to do, once that is known.
func (p *progress) total(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Total = n
}

// end tells that it is done, whatever was counted.
func (p *progress) end(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Percent, p.p.Text, p.p.Done, p.last = 100, text, p.p.Total, true
	p.tell(time.Now())
}

func (p *progress) tell(now time.Time) {
	if p.say == nil || !p.last && now.Sub(p.told) < tellEvery {
		return
	}
	p.told, p.last = now, false
	p.say(p.p)
}
