package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"roundtable/cluster"
	"roundtable/durable"
	"roundtable/fsm"
)

// tokensFile holds the first tokens, hashed, from init until the founder has put them into the cluster's state.
const tokensFile = "tokens.json"

// seedEvery is how often the founder tries to.
const seedEvery = time.Second

// actorInit is who made the first tokens, in the history.
const actorInit = "init"

// KeepTokens leaves the first tokens in a founder's home. Their texts are not in it.
func KeepTokens(home string, tokens []fsm.Token) error {
	b, err := json.MarshalIndent(tokens, "", "  ")
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(home, tokensFile), append(b, '\n'))
}

// firstTokens reads them; none where there is no file.
func firstTokens(home string) ([]fsm.Token, error) {
	b, err := os.ReadFile(filepath.Join(home, tokensFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []fsm.Token
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("manager: %s: %w", tokensFile, err)
	}
	return list, nil
}

// seedTokens puts the first tokens into the state and removes their file. The same token again changes nothing there, so
// that it may be interrupted anywhere.
func (m *manager) seedTokens() {
	home := m.cfg.Manager.Home
	list, err := firstTokens(home)
	if err != nil {
		m.log.Error("the first tokens cannot be read; the manager's own socket needs none", "err", err)
	}
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(cluster.WithActor(context.Background(), actorInit))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !m.propose(ctx, list) {
			return
		}
		if err := errors.Join(os.Remove(filepath.Join(home, tokensFile)), durable.Sync(home)); err != nil {
			m.log.Warn("the file of the first tokens stays", "err", err)
			return
		}
		m.log.Info("the first tokens are in the cluster's state", "tokens", len(list))
	}()
	m.stack.push("tokens", time.Second, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// propose puts the tokens into the state, however long it takes; false when ctx ends first, or when a token is refused.
func (m *manager) propose(ctx context.Context, list []fsm.Token) bool {
	retry := time.NewTicker(seedEvery)
	defer retry.Stop()
	last := ""
	for len(list) > 0 {
		_, err := m.control.PutToken(ctx, list[0], "")
		var refusal *fsm.Refusal
		switch {
		case err == nil:
			list = list[1:]
			continue
		case errors.As(err, &refusal):
			m.log.Error("the first tokens are refused; the manager's own socket needs none", "err", err, "hint", "move "+tokensFile+" away and make others: roundtable token add --home "+m.cfg.Manager.Home)
			return false
		case err.Error() != last && ctx.Err() == nil:
			last = err.Error()
			m.log.Info("the first tokens wait for the cluster", "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-retry.C:
		}
	}
	return true
}
