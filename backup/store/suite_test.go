package store

import (
	"context"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	"roundtable/backup"
	"roundtable/backup/store/storetest"
	"roundtable/test/servers"
)

func TestMain(m *testing.M) {
	if writeForever() {
		return
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"), // Google's library has one for ever
	)
}

// now tries nothing again: what a test expects comes at once.
var now = Options{Patience: -1, Stall: 20 * time.Second}

func open(t *testing.T, raw string, o Options) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), raw, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestFolder(t *testing.T) {
	storetest.Suite(t, func(t *testing.T) backup.Store {
		dir := t.TempDir()
		t.Cleanup(func() { // nothing unfinished is left
			if left, _ := filepath.Glob(filepath.Join(dir, unfinished, "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
		return open(t, "file://"+dir, now)
	})
}

func TestGCS(t *testing.T) {
	server := servers.GCS(t, "kept")
	var count atomic.Int32
	storetest.Suite(t, func(t *testing.T) backup.Store {
		return open(t, "gs://kept/at/"+strconv.Itoa(int(count.Add(1)))+"?endpoint="+url.QueryEscape(server.URL), now)
	})
	if err := open(t, "gs://kept/check", Options{Env: []string{"STORAGE_EMULATOR_HOST=" + strings.TrimPrefix(server.URL, "http://")}}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestS3(t *testing.T) {
	server := servers.S3(t)
	makeBucket(t, server, "kept", "")
	var count atomic.Int32
	storetest.Suite(t, func(t *testing.T) backup.Store {
		// With patience: the server may hang up on a body that it does not want, before it has said so.
		return open(t, s3URL(server, "kept/at/"+strconv.Itoa(int(count.Add(1)))), Options{Env: rootOf()})
	})
	if err := open(t, s3URL(server, "kept"), Options{Env: rootOf()}).Check(t.Context()); err != nil { // without a prefix
		t.Error(err)
	}
}

func s3URL(server *servers.Server, path string) string {
	return "s3://" + path + "?region=us-east-1&endpoint=" + url.QueryEscape(server.URL)
}

func rootOf() []string { return envOf(servers.RootKey, servers.RootSecret) }

func envOf(key, secret string) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret}
}

// makeBucket makes one as the root of a server, with a policy if it is not "".
func makeBucket(t *testing.T, server *servers.Server, name, policy string) {
	t.Helper()
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(server.URL), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(servers.RootKey, servers.RootSecret, ""),
	})
	if _, err := client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	if policy == "" {
		return
	}
	if _, err := client.PutBucketPolicy(context.Background(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}
