package backup

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// packer fills packs with segments, stores them, and knows which packs the manifest in the making refers to. Its methods are
// safe for concurrent use. There are a few packs in memory, and who has a segment waits while all of them are on their way.
type packer struct {
	r       *Repository
	id      string
	journal *journal
	stored  func(bytes int64)

	next atomic.Uint32
	full chan *pack
	free chan *pack

	mu      sync.Mutex
	refs    []packRef
	index   map[packKey]uint32
	current *pack

	muOwn sync.Mutex // not mu, which is held by who waits for a pack to be stored
	own   map[uint32]packRef
}

type packKey struct {
	of     string
	number uint32
}

// putters is how many packs are on their way into the store at a time.
const putters = 2

func newPacker(r *Repository, id string, next uint32, j *journal, stored func(int64)) *packer {
	p := &packer{r: r, id: id, journal: j, stored: stored, index: map[packKey]uint32{}, own: map[uint32]packRef{}, full: make(chan *pack), free: make(chan *pack, putters+1)}
	p.next.Store(next)
	for range putters + 1 {
		p.free <- &pack{}
	}
	return p
}

// refer gives the index of a pack in the manifest, and from now on it is in the manifest.
func (p *packer) refer(ref packRef) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := packKey{ref.Of, ref.Number}
	i, ok := p.index[key]
	if !ok {
		i = uint32(len(p.refs))
		p.index[key] = i
		p.refs = append(p.refs, ref)
	}
	return i
}

// all gives the packs of the manifest, once everything is stored.
func (p *packer) all() []packRef {
	p.muOwn.Lock()
	defer p.muOwn.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, ref := range p.own {
		p.refs[i] = ref
	}
	return p.refs
}

// add puts a segment of n bytes into a pack, as it is stored.
func (p *packer) add(ctx context.Context, s sum, stored []byte, n int) (entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.current; c != nil && len(c.body)+len(stored)+(len(c.directory)+1)*entryBytes > p.r.pack {
		if err := p.send(ctx); err != nil {
			return entry{}, err
		}
	}
	if p.current == nil {
		select {
		case p.current = <-p.free:
		case <-ctx.Done():
			return entry{}, context.Cause(ctx)
		}
		if p.current.body == nil { // at once: to let it grow costs a twentieth of a backup's processor time
			p.current.body = make([]byte, 0, p.r.pack+len(packMagic)+len(packEnd)+4)
		}
		p.current.reset()
		p.current.index = uint32(len(p.refs))
		p.refs = append(p.refs, packRef{Of: p.id}) // its number it gets when it is stored
	}
	return p.current.add(s, stored, n), nil
}

// flush sends the last pack off.
func (p *packer) flush(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return nil
	}
	return p.send(ctx)
}

func (p *packer) send(ctx context.Context) error {
	select {
	case p.full <- p.current:
		p.current = nil
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// store takes the packs that are full until there are no more; the first error is told to fail, and nothing is stored after it.
func (p *packer) store(ctx context.Context, fail func(error)) {
	var sealed bytes.Buffer
	for c := range p.full {
		if ctx.Err() == nil {
			if err := p.put(ctx, c, &sealed); err != nil {
				fail(err)
			}
		}
		p.free <- c
	}
}

func (p *packer) put(ctx context.Context, c *pack, sealed *bytes.Buffer) error {
	object, err := p.r.keys.seal(c.finish(), sealed)
	if err != nil {
		return err
	}
	ref := packRef{Of: p.id, Size: int64(len(object)), Sum: sumOf(object)}
	if ref.Number, err = p.r.putNumbered(ctx, packsAt, p.id, &p.next, object); err != nil {
		return fmt.Errorf("write a pack: %w", err)
	}
	p.muOwn.Lock()
	p.own[c.index] = ref
	p.muOwn.Unlock()
	p.journal.add(ref, c.directory)
	p.stored(ref.Size)
	return nil
}
