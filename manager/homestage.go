package manager

import (
	"context"
	"fmt"
	"strings"
	"time"

	"roundtable/fsm"
	"roundtable/node"
	"roundtable/node/versions"
)

// resolveTime bounds the question which checksum a version must have: an operator waits for the answer.
const resolveTime = 20 * time.Second

// Resolve asks the source. A folder that somebody made or named for the tag goes before it, as for Stage, and is held to nothing.
func (h *home) Resolve(ctx context.Context, u fsm.Upgrade) (string, error) {
	req := h.request(u)
	switch {
	case u.SHA256 != "", req.Source == "", u.Tag == versions.Genesis, h.cfg().Upgrade.Folders[u.Tag] != "":
		return "", nil
	}
	staged, err := h.versions.Origin(u.Tag)
	if err == nil && staged.SHA256 == "" {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	asset, failed := h.versions.Resolve(ctx, req)
	switch {
	case failed == nil:
		return asset.SHA256, nil
	case err == nil: // it is here already, wherever the source is now
		return staged.SHA256, nil
	}
	return "", hinted(failed)
}

// request is what the versions are asked for.
func (h *home) request(u fsm.Upgrade) versions.Request {
	c := h.cfg().Upgrade
	if !c.AutoInstall {
		return versions.Request{Tag: u.Tag, SHA256: u.SHA256}
	}
	return versions.Request{
		Tag: u.Tag, SHA256: u.SHA256, Source: c.Source, Asset: c.Asset, Binary: c.Binary, Checksums: c.Checksums, TokenFile: c.TokenFile,
		ConnectionRetries: c.ConnectionRetries,
	}
}

// Stage makes a version ready to be switched to.
func (h *home) Stage(ctx context.Context, u fsm.Upgrade, say func(percent int, text string)) (string, error) {
	if folder := h.cfg().Upgrade.Folders[u.Tag]; folder != "" {
		if err := h.versions.Link(u.Tag, folder); err != nil {
			return "", hinted(err)
		}
	}
	s, err := h.versions.Stage(ctx, h.request(u), func(done, total int64, text string) {
		percent := 0
		if total > 0 {
			percent = int(min(100, done*100/total))
		}
		say(percent, text)
	})
	if err != nil {
		return "", hinted(err)
	}
	v, err := h.version(u.Tag)
	if err != nil {
		return "", err
	}
	conf, err := h.config("")
	if err != nil {
		return "", err
	}
	if _, err := conf.build(h.settings, v); err != nil { // better now than when the node is stopped
		return "", err
	}
	return stagedText(s), nil
}

// stagedText is what an operator is told of a version that is ready.
func stagedText(s versions.Staged) string {
	said := s.Version
	if said == "" {
		said = "what node.path says"
	}
	text := fmt.Sprintf("%s says %s (%s)", s.Tag, said, s.How)
	switch {
	case s.Unchecked:
		text += ", its sha256 not checked: the folder was put there by hand"
	case s.SHA256 != "":
		text += fmt.Sprintf(", sha256 %s (as %s said) of %s", s.SHA256, s.By, s.Source)
	}
	return text
}

// Ready runs the operator's hook.
func (h *home) Ready(ctx context.Context, u fsm.Upgrade) error {
	c := h.cfg()
	hook := c.Upgrade.Hook
	if hook == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.Upgrade.HookTimeout.D())
	defer cancel()
	v, _ := h.monitor.View()
	lines, err := node.RunHook(ctx, hook, nil, []string{
		"ROUNDTABLE_TAG=" + u.Tag, "ROUNDTABLE_MEMBER=" + c.Manager.ID, "ROUNDTABLE_HOME=" + c.Manager.Home,
		fmt.Sprintf("ROUNDTABLE_BLOCK=%d", v.Head.Num),
	})
	if err != nil {
		return fmt.Errorf("manager: nothing was stopped, for the hook failed: %w", err)
	}
	h.log.Info("the hook before an upgrade has run", "hook", hook, "said", strings.Join(lines, " | "))
	return nil
}
