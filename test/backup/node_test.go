package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
)

// comesUp restores a backup into a folder without the managers' help, starts a node on it, and waits until that has the head of the
// members' nodes. The node never produces.
func (b *sandbox) comesUp(r api.Backup) {
	b.T.Helper()
	dir := b.scratch(r.ID)
	args := []string{"--data-dir", dir}
	if r.Kind == fsm.CopiesSnapshot {
		file := ""
		if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && strings.HasSuffix(path, ".bin") {
				file = path
			}
			return err
		}); err != nil || file == "" {
			b.T.Fatalf("%s has no snapshot: %v", r.ID, err)
		}
		args = []string{"--data-dir", filepath.Join(b.T.TempDir(), "data"), "--snapshot", file}
	}
	if _, err := os.Stat(filepath.Join(dir, "finalizers")); err == nil {
		b.T.Errorf("finalizers/ is in backup %s", r.ID)
	}
	var ports [2]int
	for i := range ports {
		port, err := drill.FreePort()
		if err != nil {
			b.T.Fatal(err)
		}
		ports[i] = port
	}
	url := fmt.Sprintf("127.0.0.1:%d", ports[0])
	args = append(args, "--config-dir", filepath.Join(b.T.TempDir(), "config"), "--http-server-address", url, "--p2p-listen-endpoint", fmt.Sprintf("127.0.0.1:%d", ports[1]),
		"--p2p-max-nodes-per-host", "50", "--agent-name", "scratch", "--sim-schedule", strings.Join(b.Schedule(), ","), "--sim-state-mb", "4",
		"--plugin", "eosio::chain_api_plugin", "--plugin", "eosio::net_plugin")
	for _, m := range b.Members {
		args = append(args, "--p2p-peer-address", m.P2P())
	}
	var log strings.Builder
	c := exec.Command(filepath.Join(built, "simnodeos"), args...)
	c.Stderr = &log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		b.T.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	defer func() {
		_ = c.Process.Kill()
		<-ended
	}()
	b.Eventually(30*time.Second, "the node on "+r.ID+" ("+r.Kind+") has the head", func(ctx context.Context) error {
		select {
		case <-ended:
			b.T.Fatalf("the node on %s (%s) has ended: %v\n%s", r.ID, r.Kind, c.ProcessState, log.String())
		default:
		}
		head, err := headOf(ctx, "http://"+url)
		if err != nil {
			return err
		}
		others, err := headOf(ctx, b.standby().NodeHTTP())
		if err == nil && head+2 < others {
			err = fmt.Errorf("it is at block %d, the others at %d", head, others)
		}
		return err
	})
}

// info is what a node says of its chain.
type info struct {
	First uint32 `json:"earliest_available_block_num"`
	Head  uint32 `json:"head_block_num"`
}

func infoOf(ctx context.Context, url string) (i info, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/chain/get_info", nil)
	if err != nil {
		return i, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return i, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return i, errors.New(resp.Status)
	}
	return i, json.NewDecoder(resp.Body).Decode(&i)
}

// headOf is the number of a node's head block.
func headOf(ctx context.Context, url string) (uint32, error) {
	i, err := infoOf(ctx, url)
	return i.Head, err
}

// contents are a folder's files with their inodes: another file of the same bytes is another one.
func (b *sandbox) contents(dir string) map[string]uint64 {
	b.T.Helper()
	files := map[string]uint64{}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the node runs
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
			files[path] = stat.Ino
		}
		return err
	}); err != nil {
		b.T.Fatal(err)
	}
	return files
}

// data is the folder of a member's node.
func data(m *drill.Member) string { return filepath.Join(m.Home, "node", "data") }
