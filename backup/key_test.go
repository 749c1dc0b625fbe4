package backup_test

import (
	"errors"
	"strings"
	"testing"

	"filippo.io/age"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// TestKeys opens repositories with what does not fit them.
func TestKeys(t *testing.T) {
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	mine := []age.Identity{identity}
	plain, sealed := &backuptest.Memory{}, &backuptest.Memory{}
	open(t, plain, backup.Options{Create: true})
	open(t, sealed, backup.Options{Create: true, Identities: mine})
	for name, c := range map[string]struct {
		store *backuptest.Memory
		o     backup.Options
		want  error
		says  string
	}{
		"right":                        {sealed, backup.Options{Identities: mine}, nil, ""},
		"right, among others":          {sealed, backup.Options{Identities: []age.Identity{other, identity}}, nil, ""},
		"with Create":                  {sealed, backup.Options{Create: true, Identities: mine}, nil, ""},
		"another":                      {sealed, backup.Options{Identities: []age.Identity{other}}, backup.ErrKey, "made with another one"},
		"none":                         {sealed, backup.Options{Create: true}, backup.ErrKey, "no key is configured"},
		"to write only":                {sealed, backup.Options{Recipients: []age.Recipient{identity.Recipient()}}, backup.ErrKey, "no key to read"},
		"recipients that nobody reads": {sealed, backup.Options{Identities: mine, Recipients: []age.Recipient{other.Recipient()}}, backup.ErrKey, "cannot read"},
		"not needed":                   {plain, backup.Options{Identities: mine}, backup.ErrKey, "not encrypted"},
		"empty":                        {&backuptest.Memory{}, backup.Options{}, backup.ErrNoRepository, ""},
		"new, post-quantum":            {&backuptest.Memory{}, backup.Options{Create: true, Identities: []age.Identity{hybrid}}, nil, ""},
		"new, nobody reads it":         {&backuptest.Memory{}, backup.Options{Create: true, Recipients: []age.Recipient{identity.Recipient()}}, backup.ErrKey, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := backup.Open(t.Context(), c.store, c.o)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if err == nil && (len(r.ID()) != 32 || r.Encrypted() != (c.store != plain)) {
				t.Errorf("%q %v", r.ID(), r.Encrypted())
			}
			if err != nil && len(c.store.Names()) > 1 {
				t.Errorf("%v", c.store.Names())
			}
		})
	}
}

// TestOpen is about what else may be in a store.
func TestOpen(t *testing.T) {
	s := &backuptest.Memory{}
	r, err := backup.Init(t.Context(), s, backup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Init(t.Context(), s, backup.Options{}); !errors.Is(err, backup.ErrExists) {
		t.Error(err)
	}
	if again := open(t, s, backup.Options{Create: true}); again.ID() != r.ID() {
		t.Error("another one was made")
	}
	checked := &backuptest.Memory{}
	checked.Set("check/X", []byte("x"))
	open(t, checked, backup.Options{Create: true})
	checked = &backuptest.Memory{}
	checked.Set("checks", []byte("x"))
	if _, err := backup.Open(t.Context(), checked, backup.Options{Create: true}); !errors.Is(err, backup.ErrNotEmpty) {
		t.Error(err)
	}
	lost := s.Clone()
	lost.Set("format", nil)
	lost.Set("manifests/one", []byte("x"))
	if _, err := backup.Open(t.Context(), lost, backup.Options{Create: true}); !errors.Is(err, backup.ErrNotEmpty) {
		t.Error(err)
	}
	newer := []byte("roundtable backup repository\nversion 7\nmore: of it\n")
	s.Set("format", append(newer, "blake2b-256 "+backup.SumOf(newer)+"\n"...))
	if _, err := backup.Open(t.Context(), s, backup.Options{}); !errors.Is(err, backup.ErrNewer) {
		t.Error(err)
	}
	// Two members make it at the same time.
	race := &backuptest.Memory{}
	race.Hook(func(operation, name string) error {
		if operation == "put" && name == "format" {
			race.Hook(nil)
			open(t, race, backup.Options{Create: true})
		}
		return nil
	})
	first := open(t, race, backup.Options{Create: true})
	if second := open(t, race, backup.Options{}); first.ID() != second.ID() {
		t.Error("two repositories were made")
	}
}

// TestOtherChain is refused, and so are ids that are none, and backups that are not there.
func TestOtherChain(t *testing.T) {
	r := open(t, &backuptest.Memory{}, backup.Options{Create: true})
	src := backup.Source{Dir: tiny(t), Meta: meta("a")}
	done(t, r, "one", src)
	src.Meta.ChainID, src.Bases = "another", []string{"one"}
	if _, err := r.Backup(t.Context(), "two", src, nil); !errors.Is(err, backup.ErrChain) {
		t.Error(err)
	}
	src.Bases = []string{"never there"[:5]}
	if _, err := r.Backup(t.Context(), "../x", src, nil); err == nil {
		t.Error("an id with slashes")
	}
	for name, f := range map[string]func() error{
		"verify":   func() error { return r.Verify(t.Context(), "three", nil) },
		"readback": func() error { return r.Readback(t.Context(), "three", nil) },
		"whole":    func() error { return r.Whole(t.Context(), "three") },
		"commit":   func() error { _, err := r.Commit(t.Context(), "three"); return err },
		"info":     func() error { _, err := r.Info(t.Context(), "three"); return err },
		"restore":  func() error { _, err := r.Restore(t.Context(), "three", t.TempDir(), nil); return err },
	} {
		if err := f(); !errors.Is(err, backup.ErrNoBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSwapped: what belongs to another backup, or another repository with the same key, is not taken for this one.
func TestSwapped(t *testing.T) {
	modes(t, func(t *testing.T, o backup.Options) {
		s, far := &backuptest.Memory{}, &backuptest.Memory{}
		dir := tiny(t)
		r, other := open(t, s, o), open(t, far, o)
		for _, id := range []string{"one", "two"} {
			done(t, r, id, backup.Source{Dir: dir, Meta: meta("a")})
		}
		done(t, other, "one", backup.Source{Dir: dir, Meta: meta("a")})
		for name, body := range map[string][]byte{"another backup's": s.Body("manifests/two"), "another repository's": far.Body("manifests/one")} {
			bad := s.Clone()
			bad.Set("manifests/one", body)
			var damage *backup.Damage
			if _, err := open(t, bad, o).Info(t.Context(), "one"); !errors.As(err, &damage) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
