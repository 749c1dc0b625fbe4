package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"roundtable/backup"
	"roundtable/backup/store"
)

const (
	defaultMemory = 200 << 20
	maxJob        = 16 << 20               // bytes of a job: names of many files
	sayEvery      = 200 * time.Millisecond // how often progress is told, at most
)

// Run does the job that stands on in and tells of it on out. The error, if any, was told there too. It ends with ctx.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	w := &worker{out: json.NewEncoder(out)}
	err := w.run(ctx, in)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("ended before it was done: %w", cause)
		}
		w.put(Line{Failed: failure(err)})
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// worker writes the lines.
type worker struct {
	mu     sync.Mutex
	out    *json.Encoder
	last   backup.Progress
	said   time.Time
	failed error
}

func (w *worker) put(l Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.out.Encode(l); err != nil && w.failed == nil {
		w.failed = fmt.Errorf("worker: nobody reads what is told: %w", err)
	}
}

// progress tells how far it is, now and then.
func (w *worker) progress(p backup.Progress) {
	w.mu.Lock()
	if p.Percent == w.last.Percent && p.Text == w.last.Text && p.Percent < 100 && time.Since(w.said) < 5*sayEvery || time.Since(w.said) < sayEvery && p.Percent < 100 {
		w.mu.Unlock()
		return
	}
	w.last, w.said = p, time.Now()
	w.mu.Unlock()
	w.put(Line{Progress: &p})
}

func (w *worker) run(ctx context.Context, in io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(in, maxJob+1))
	if err != nil {
		return fmt.Errorf("worker: read the job: %w", err)
	}
	var j Job
	if len(text) > maxJob {
		return fmt.Errorf("worker: a job of more than %d bytes", maxJob)
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return errors.New("worker: the job on stdin is none (hint: this command is for the manager)") // what is wrong with it may be a secret
	}
	debug.SetMemoryLimit(max(j.Memory, defaultMemory))
	identities, recipients, err := j.Repository.keys()
	if err != nil {
		return &Failure{Code: "key", Text: "the encryption key: " + err.Error(), Hint: "make one with: roundtable backup keygen"}
	}
	bucket, err := store.Open(ctx, j.Repository.URL, store.Options{
		Env: j.Repository.Env, Limits: store.NewLimits(j.Repository.Upload, j.Repository.Download),
		Retry: func(r store.Retry) {
			w.put(Line{Say: fmt.Sprintf("%s: %v; again in %s", r.What, r.Err, r.Pause.Round(time.Millisecond))})
		},
	})
	if err != nil {
		return err
	}
	defer func() { _ = bucket.Close() }()
	r, err := backup.Open(ctx, bucket, backup.Options{
		Identities: identities, Recipients: recipients, Create: j.Create, Parallel: j.Parallel, Cache: j.Cache,
	})
	if err != nil {
		return err
	}
	return w.do(ctx, r, j)
}

func (w *worker) do(ctx context.Context, r *backup.Repository, j Job) error {
	var info backup.Info
	var err error
	switch {
	case j.Do == DoBackup && j.Source != nil:
		info, err = r.Backup(ctx, j.ID, *j.Source, w.progress)
	case j.Do == DoReadback:
		return r.Readback(ctx, j.ID, w.progress)
	case j.Do == DoCommit:
		info, err = r.Commit(ctx, j.ID)
	case j.Do == DoRestore && j.Folder != "":
		info, err = r.Restore(ctx, j.ID, j.Folder, w.progress)
	case j.Do == DoVerify:
		return r.Verify(ctx, j.ID, w.progress)
	case j.Do == DoInfo:
		info, err = r.Info(ctx, j.ID)
	case j.Do == DoSweep && j.Keep != nil:
		swept, err := r.Sweep(ctx, *j.Keep, w.progress)
		if err == nil {
			w.put(Line{Swept: &swept})
		}
		return err
	case j.Do == DoList:
		list, err := r.List(ctx)
		for i := range list {
			w.put(Line{Info: &list[i]})
		}
		for _, d := range backup.Damages(err) {
			w.put(Line{Damaged: failure(d)})
		}
		return err
	default:
		return fmt.Errorf("worker: a job of no kind that is known: %.40q", j.Do)
	}
	if err == nil {
		w.put(Line{Info: &info})
	}
	return err
}

// failure makes an error one that goes through a pipe.
func failure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	f = &Failure{Text: err.Error(), Hint: store.Hint(err), Code: string(store.CodeOf(err))}
	var d *backup.Damage
	if errors.As(err, &d) {
		f.Code, f.Objects, f.Files, f.Backup = CodeDamaged, d.Objects, d.Files, d.Backup
		return f
	}
	for _, c := range codes {
		if errors.Is(err, c.err) && (f.Code == "" || f.Code == string(store.NotFound) || f.Code == string(store.Exists)) {
			f.Code = c.code
			if f.Hint == "" {
				f.Hint = c.hint
			}
			return f
		}
	}
	switch {
	case f.Code != "":
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		f.Code, f.Hint = string(store.NoSpace), "free some room on the disk"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		f.Code, f.Hint = string(store.Permission), "the user that runs roundtable must be allowed to"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		f.Code = "ended"
	default:
		f.Code = "other"
	}
	return f
}
