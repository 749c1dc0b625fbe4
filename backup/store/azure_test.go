package store

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/backup"
	"roundtable/backup/store/storetest"
)

// azurite is as much of Azure's blob service as a store needs, after
// https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api. No server of it can be built with Go.
type azurite struct {
	mu    sync.Mutex
	blobs map[string][]byte // by container/name
	fail  string            // an error's code to answer with
	code  int
}

func (a *azurite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	refuse := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
	}
	name := strings.TrimPrefix(r.URL.Path, "/account/")
	body, there := a.blobs[name]
	switch {
	case a.fail != "":
		refuse(a.code, a.fail)
	case !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey account:"):
		refuse(http.StatusForbidden, "AuthenticationFailed")
	case !strings.HasPrefix(name, "kept"):
		refuse(http.StatusNotFound, "ContainerNotFound")
	case r.Method == http.MethodGet && r.URL.Query().Get("comp") == "list":
		a.list(w, r)
	case r.Method == http.MethodPut && there && r.Header.Get("If-None-Match") == "*":
		refuse(http.StatusConflict, "BlobAlreadyExists")
	case r.Method == http.MethodPut && r.Header.Get("x-ms-blob-type") == "BlockBlob":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a.blobs[name] = body
		w.WriteHeader(http.StatusCreated)
	case !there:
		refuse(http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	case r.Method == http.MethodDelete:
		delete(a.blobs, name)
		w.WriteHeader(http.StatusAccepted)
	default:
		refuse(http.StatusBadRequest, "UnsupportedHttpVerb")
	}
}

func (a *azurite) list(w http.ResponseWriter, r *http.Request) {
	type blob struct {
		Name     string
		Modified string `xml:"Properties>Last-Modified"`
		Size     int    `xml:"Properties>Content-Length"`
	}
	var answer struct {
		XMLName xml.Name `xml:"EnumerationResults"`
		Blobs   []blob   `xml:"Blobs>Blob"`
		Next    string   `xml:"NextMarker"`
	}
	limit, err := strconv.Atoi(r.URL.Query().Get("maxresults"))
	if err != nil {
		limit = 5000
	}
	var names []string
	for name := range a.blobs {
		name = strings.TrimPrefix(name, "kept/")
		if strings.HasPrefix(name, r.URL.Query().Get("prefix")) && name >= r.URL.Query().Get("marker") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > limit {
		answer.Next, names = names[limit], names[:limit]
	}
	for _, name := range names {
		answer.Blobs = append(answer.Blobs, blob{name, time.Now().UTC().Format(http.TimeFormat), len(a.blobs["kept/"+name])})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(answer)
}

const azureKey = "d3Jvbmctc2VjcmV0" // base64

func azure(t *testing.T) (*azurite, string) {
	a := &azurite{blobs: map[string][]byte{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, "?storage_account=account&protocol=http&domain=" + strings.TrimPrefix(server.URL, "http://")
}

func TestAzure(t *testing.T) {
	storetest.Suite(t, func(t *testing.T) backup.Store {
		_, query := azure(t)
		o := now
		o.Env = []string{"AZURE_STORAGE_KEY=" + azureKey}
		return open(t, "azblob://kept/at"+query, o)
	})
}

func TestAzureRefuses(t *testing.T) {
	a, query := azure(t)
	o := now
	o.Env = []string{"AZURE_STORAGE_KEY=" + azureKey}
	for _, err := range everything(t, open(t, "azblob://none"+query, o)) {
		wrong(t, err, NoBucket)
	}
	b := open(t, "azblob://kept"+query, o)
	for _, c := range []struct {
		status int
		code   string
		want   Code
	}{
		{403, "AuthenticationFailed", Credentials}, {403, "AuthorizationPermissionMismatch", Permission}, {503, "ServerBusy", Throttled},
		{500, "InternalError", Server}, {403, "", Permission}, {500, "", Server}, {400, "InvalidUri", Refused},
	} {
		a.mu.Lock()
		a.fail, a.code = c.code, c.status
		if a.fail == "" {
			a.fail = " "
		}
		a.mu.Unlock()
		if err := b.Put(t.Context(), "config", nil); CodeOf(err) != c.want {
			t.Errorf("%d %s: %v", c.status, c.code, err)
		}
	}
	o.Env = []string{"AZURE_STORAGE_ACCOUNT=account", "AZURE_STORAGE_SAS_TOKEN=sv=1&sig=wrong-secret"}
	_, err := Open(t.Context(), "azblob://kept?storage_account=other", o)
	wrong(t, err, BadURL)
	_, err = Open(t.Context(), "azblob://kept", now)
	wrong(t, err, Credentials)
}
