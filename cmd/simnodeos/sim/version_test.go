package sim

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// buildVersion links a double of another version; extra are arguments it is built with.
func buildVersion(t *testing.T, version, extra string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "nodeos")
	const vars = "roundtable/cmd/simnodeos/sim."
	build := exec.Command("go", "build", "-ldflags", "-X "+vars+"Version="+version+" -X '"+vars+"Args="+extra+"'", "-o", bin, "roundtable/cmd/simnodeos")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestAnotherVersion: all that tells the version follows the linker's word.
func TestAnotherVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	bin := buildVersion(t, "v1.3.0-rc2", "--sim-calibration 10ms")
	say := func(flag string) string {
		cmd := exec.Command(bin, flag)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(flag, err)
		}
		return strings.TrimSpace(string(out))
	}
	full := say("--full-version")
	if say("--version") != "v1.3.0-rc2" || !regexp.MustCompile(`^v1\.3\.0-rc2-[0-9a-f]{40}$`).MatchString(full) || strings.HasSuffix(full, recordedCommit) {
		t.Error(say("--version"), full)
	}
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.program = bin
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 1, `\] nodeos version v1\.3\.0-rc2 `+full+`$`)
	p.produced(1)
	resp, err := http.Post("http://"+r.http+"/v1/chain/get_info", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var info struct {
		Commit  string `json:"server_version"`
		Version string `json:"server_version_string"`
		Full    string `json:"server_full_version_string"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		t.Fatal(err)
	}
	if info.Version != "v1.3.0-rc2" || info.Full != full || "v1.3.0-rc2-"+info.Commit != full[:len("v1.3.0-rc2-")+8] || resp.Header.Get("Server") != "nodeos/v1.3.0-rc2" {
		t.Error(info, resp.Header)
	}
	if code := p.term(); code != 0 {
		t.Error(code)
	}
}
