package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/cmd/roundtable/config"
	"roundtable/manager"
)

const unitFile = "../../deploy/systemd/roundtable.service"

// tool is a program of systemd's; the test is skipped where it is not installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skipped: %s is not installed (Debian: apt-get install systemd)", name)
	}
	return path
}

// unit reads the unit: its lines by key, the last one counts.
func unit(t *testing.T) (text string, keys map[string]string) {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	keys = map[string]string{}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			keys[key] = value
		}
	}
	return string(b), keys
}

// TestUnitVerifies: systemd understands every line of it. What it does not, it only tells.
func TestUnitVerifies(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	text, _ := unit(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "roundtable")
	file := filepath.Join(dir, "roundtable.service")
	for _, err := range []error{
		os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755),
		os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/bin/roundtable", program)), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || len(strings.TrimSpace(string(out))) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitIsHardened: 0 is closed, 10 is open; 2.0 and less systemd itself calls OK.
func TestUnitIsHardened(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", "--threshold=20", unitFile).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "Overall exposure level") {
		t.Errorf("it did not judge: %s", out)
	}
}

// TestUnitFitsTheProgram holds the unit's times and codes to what the program does.
func TestUnitFitsTheProgram(t *testing.T) {
	_, keys := unit(t)
	span := func(key string) time.Duration {
		d, err := time.ParseDuration(strings.Replace(keys[key], "min", "m", 1))
		if err != nil {
			t.Errorf("%s=%q: %v", key, keys[key], err)
		}
		return d
	}
	if stop, need := span("TimeoutStopSec"), manager.StopBound(config.Default().Node.StopTimeout.D()); stop < need {
		t.Errorf("TimeoutStopSec=%s, and an ordered stop may take %s", stop, need)
	}
	if span("WatchdogSec") < manager.Stuck {
		t.Errorf("WatchdogSec=%s, and a controller may be busy for %s", keys["WatchdogSec"], manager.Stuck)
	}
	for key, want := range map[string]string{
		"Type": "notify", "KillMode": "mixed", "Restart": "on-failure", "RestartPreventExitStatus": "2", "WatchdogSignal": "SIGTERM",
		"ExecStart": "/usr/bin/roundtable run --home /var/lib/roundtable", "LimitCORE": "0", "User": "roundtable",
	} {
		if keys[key] != want {
			t.Errorf("%s=%s, want %s", key, keys[key], want)
		}
	}
}

// TestUserAndFolders makes them below a folder, as the installation does below /.
func TestUserAndFolders(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can make users' folders")
	}
	users, files := tool(t, "systemd-sysusers"), tool(t, "systemd-tmpfiles")
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{users, "--root=" + root, absolute(t, "roundtable.sysusers")}, {files, "--create", "--root=" + root, absolute(t, "roundtable.tmpfiles")}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil || !strings.Contains(string(passwd), "roundtable:x:") || !strings.Contains(string(passwd), ":/var/lib/roundtable:/usr/sbin/nologin") {
		t.Errorf("passwd: %v\n%s", err, passwd)
	}
	info, err := os.Stat(filepath.Join(root, "var/lib/roundtable"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the home: %v %v", info, err)
	}
	if to, err := os.Readlink(filepath.Join(root, "etc/roundtable/config.toml")); err != nil || to != "/var/lib/roundtable/config.toml" {
		t.Errorf("the configuration: %q %v", to, err)
	}
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(filepath.Dir(unitFile), name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
