package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Readback reads the packs and tables that a pending or committed backup has written itself, and compares every sum; of those of
// other backups that it refers to it only checks that they are there with the size they must have. *Damage, ErrNoBackup.
func (r *Repository) Readback(ctx context.Context, id string, say func(Progress)) error {
	m, err := r.find(ctx, id, pendingAt, manifestsAt)
	if err != nil {
		return err
	}
	c := &check{r: r, m: m, want: func(p packRef) bool { return p.Of == id }, progress: newProgress(say, "reading back", 0)}
	if err := c.run(ctx); err != nil {
		return err
	}
	if err := r.present(ctx, m); err != nil {
		return err
	}
	c.progress.end("read back")
	return nil
}

// Verify reads every byte of every object that a committed backup needs, and compares every sum: *Damage, ErrNoBackup.
func (r *Repository) Verify(ctx context.Context, id string, say func(Progress)) error {
	m, err := r.find(ctx, id, manifestsAt)
	if err != nil {
		return err
	}
	c := &check{r: r, m: m, progress: newProgress(say, "verifying", 0)}
	if err := c.run(ctx); err != nil {
		return err
	}
	c.progress.end("verified")
	return nil
}

// Whole says without reading them whether all objects that a committed backup needs are there: *Damage, ErrNoBackup.
func (r *Repository) Whole(ctx context.Context, id string) error {
	m, err := r.find(ctx, id, manifestsAt)
	if err != nil {
		return err
	}
	return r.present(ctx, m)
}

// present says whether all objects that a manifest refers to are there, with the size they must have.
func (r *Repository) present(ctx context.Context, m *manifest) error {
	sizes := map[string]int64{}
	for at, refs := range map[string][]packRef{packsAt: m.Packs, tablesAt: m.Tables} {
		folders := map[string]bool{}
		for _, ref := range refs {
			if folders[ref.Of] {
				continue
			}
			folders[ref.Of] = true
			for object, err := range r.store.List(ctx, at+ref.Of+"/") {
				if err != nil {
					return fmt.Errorf("list the packs of backup %s: %w", ref.Of, err)
				}
				sizes[object.Name] = object.Size
			}
		}
	}
	c := &check{m: m}
	for at, refs := range map[string][]packRef{packsAt: m.Packs, tablesAt: m.Tables} {
		for _, ref := range refs {
			name := numbered(at, ref.Of, ref.Number)
			size, ok := sizes[name]
			switch {
			case !ok:
				_ = c.damaged(name, ErrNotFound)
			case size != ref.Size:
				_ = c.damaged(name, fmt.Errorf("it has %d bytes, %d were written", size, ref.Size))
			}
		}
	}
	return c.result()
}

// Commit makes a pending backup one that is there: pending/<id> becomes manifests/<id>. Readback comes before it. Called again it
// does no harm. ErrNoBackup, and *Damage where something that the backup needs is not there.
func (r *Repository) Commit(ctx context.Context, id string) (Info, error) {
	if err := validID(id); err != nil {
		return Info{}, err
	}
	m, err := r.manifest(ctx, manifestsAt, id)
	if errors.Is(err, ErrNotFound) {
		m, err = r.commit(ctx, id)
	}
	if err != nil {
		return Info{}, err
	}
	for _, at := range []string{pendingAt, aheadAt} {
		if err := r.store.Delete(ctx, at+id); err != nil {
			r.log.Warn("an object is left to the sweep", "object", at+id, "error", err)
		}
	}
	r.dropJournal(id)
	return m.info(), nil
}

func (r *Repository) commit(ctx context.Context, id string) (*manifest, error) {
	object, err := r.store.Get(ctx, pendingAt+id)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %s is neither pending nor committed", ErrNoBackup, id)
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest of backup %s: %w", id, err)
	}
	m, err := r.parse(pendingAt, id, slices.Clone(object))
	if err != nil {
		return nil, err
	}
	if err := r.present(ctx, m); err != nil {
		return nil, err
	}
	err = r.store.Put(ctx, manifestsAt+id, object)
	if errors.Is(err, ErrExists) {
		return r.manifest(ctx, manifestsAt, id)
	}
	if err != nil {
		return nil, fmt.Errorf("write the manifest of backup %s: %w", id, err)
	}
	// Whoever was frozen before it was written may have been given up, and swept, meanwhile.
	var damage *Damage
	if err := r.present(ctx, m); errors.As(err, &damage) {
		return nil, errors.Join(err, r.store.Delete(ctx, manifestsAt+id))
	} else if err != nil {
		return nil, err
	}
	return m, nil
}

// find reads the manifest of a backup where it is found first: ErrNoBackup.
func (r *Repository) find(ctx context.Context, id string, ats ...string) (*manifest, error) {
	if err := validID(id); err != nil {
		return nil, err
	}
	for _, at := range ats {
		m, err := r.manifest(ctx, at, id)
		if !errors.Is(err, ErrNotFound) {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoBackup, id)
}

// Info tells of a committed backup: ErrNoBackup, *Damage.
func (r *Repository) Info(ctx context.Context, id string) (Info, error) {
	m, err := r.find(ctx, id, manifestsAt)
	if err != nil {
		return Info{}, err
	}
	return m.info(), nil
}

// List gives all committed backups, oldest first. Where some manifests are damaged it gives the others, and an error that
// joins a *Damage for each.
func (r *Repository) List(ctx context.Context) ([]Info, error) {
	var all []Info
	var damages []error
	for object, err := range r.store.List(ctx, manifestsAt) {
		if err != nil {
			return nil, fmt.Errorf("list the backups: %w", err)
		}
		id := strings.TrimPrefix(object.Name, manifestsAt)
		if validID(id) != nil {
			continue
		}
		i, err := r.Info(ctx, id)
		var damage *Damage
		switch {
		case errors.As(err, &damage):
			damages = append(damages, err)
		case errors.Is(err, ErrNoBackup): // deleted since
		case err != nil:
			return nil, err
		default:
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Meta.Created, b.Meta.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, errors.Join(damages...)
}
