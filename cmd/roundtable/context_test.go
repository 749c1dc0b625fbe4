package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContexts: a context is added, shown, used and removed, and its token never shows.
func TestContexts(t *testing.T) {
	file := configHome(t)
	token := put(t, filepath.Join(t.TempDir(), "token"), planted)
	var log strings.Builder
	do := func(stdin string, args ...string) {
		t.Helper()
		code, out, errs := commandWith(stdin, args...)
		log.WriteString("$ roundtable " + strings.Join(args, " ") + "\n" + out + errs)
		if code != exitDone {
			log.WriteString("exit " + string(rune('0'+code)) + "\n")
		}
	}
	do("", "context", "list")
	do("", "context", "show")
	do("", "context", "add", "prod", "--server", "https://m1:9080,https://m2:9080", "--token-file", token)
	do(planted+"\n", "context", "add", "test", "--server", "http://127.0.0.1:9080", "--token-file", "-")
	do("", "context", "add", "local", "--home", "/srv/rt", "--use")
	do("", "context", "add", "prod", "--home", "/srv/rt")
	do("", "context", "add", "nowhere")
	do("", "context", "add", "a/b", "--home", "/srv/rt")
	do("", "context", "add", "open", "--server", "http://10.0.0.1:9080", "--token", planted)
	do("", "context", "list")
	do("", "context", "use", "test")
	do("", "context", "show")
	do("", "context", "show", "prod", "--output", "yaml")
	do("", "context", "use", "tset")
	do("", "context", "list", "--output", "json")
	do("", "context", "remove", "test")
	do("", "context", "show")
	do("", "context", "remove", "test")
	text := strings.ReplaceAll(log.String(), token, "TOKENFILE")
	if found := strings.Count(text, "S3cret"); found != 1 { // the command line that was typed here
		t.Errorf("the token shows %d times", found)
	}
	golden(t, "context", strings.ReplaceAll(text, planted, "TOKEN"))
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// TestNoTokenInAnyForm: a token does not show however a struct with it is printed.
func TestNoTokenInAnyForm(t *testing.T) {
	p := profile{Token: planted}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, p); strings.Contains(got, "S3cret") {
			t.Errorf("%s: %s", verb, got)
		}
	}
}
