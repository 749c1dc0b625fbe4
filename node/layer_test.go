package node

import (
	"strings"
	"testing"
)

func TestLay(t *testing.T) {
	got, err := Lay(
		Layer{"template", "a = 1\nb = 1\nb = 2\nplugin = x\np2p-peer-address = one:1\nsignature-provider = PUB_BLS_1=KEY:2 # mine\n"},
		Layer{"empty", ""},
		Layer{"overlay", "b = 3 # one of them\n\nplugin = x\nplugin = y\np2p-peer-address = two:2\n[logging]\nc = 4"},
		Layer{"version", "a = 5\na = 6"},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := `plugin = x
p2p-peer-address = one:1
signature-provider = PUB_BLS_1=KEY:2
b = 3
plugin = y
p2p-peer-address = two:2
logging.c = 4
a = 5
a = 6
`
	if got != want {
		t.Errorf("laid:\n%s\nwant:\n%s", got, want)
	}
	_, err = Lay(Layer{"template", "a = 1"}, Layer{"the overlay", "a = 1\nsecret-5K"})
	if !IsConfigError(err) || !strings.Contains(err.Error(), "the overlay: line 2") || strings.Contains(err.Error(), "5K") {
		t.Errorf("a line that is none: %v", err)
	}
}
