package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

// openGCS does by hand what gocloud's own opener does: that one writes warnings to standard output, which is a worker's answer.
func openGCS(ctx context.Context, u *url.URL, prefix string, o Options) (driver, error) {
	q, env := u.Query(), environment(o.Env)
	anonymous, _ := strconv.ParseBool(q.Get("anonymous"))
	endpoint := q.Get("endpoint")
	if endpoint == "" {
		if endpoint = env.get("STORAGE_EMULATOR_HOST"); endpoint != "" && !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
	}
	if err := checkEndpoint(endpoint); err != nil { // the environment's, too
		return nil, problem(BadURL, err, "")
	}
	travel, err := newTransport(o, env.get("SSL_CERT_FILE"))
	if err != nil {
		return nil, problem(TLS, err, "")
	}
	hc := travel.client()
	options := []option.ClientOption{storage.WithJSONReads()}
	switch {
	case endpoint != "":
		options = append(options, option.WithEndpoint(strings.TrimSuffix(endpoint, "/")+"/storage/v1/"), option.WithoutAuthentication())
	case anonymous:
		options = append(options, option.WithoutAuthentication())
	default:
		found, err := googleCredentials(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, travel.client()), env)
		if err != nil {
			return nil, err
		}
		hc.Transport = &oauth2.Transport{Base: travel, Source: found.TokenSource}
	}
	client, err := storage.NewClient(ctx, append(options, option.WithHTTPClient(hc))...)
	if err != nil {
		return nil, err
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever)) // we try again ourselves
	bucket, err := gcsblob.OpenBucket(ctx, nil, u.Host, &gcsblob.Options{Client: client})
	if err != nil {
		return nil, err
	}
	return &cloud{
		bucket: bucket, prefix: prefix, travel: travel, know: knowGCS,
		create: func(ctx context.Context, name string, body []byte) error {
			return bucket.Upload(ctx, name, bytes.NewReader(body), &blob.WriterOptions{
				IfNotExist: true, BufferSize: -1, ContentType: "application/octet-stream", // one request, no copy
			})
		},
	}, nil
}

// googleCredentials are those of the list of variables, or where Google's own programs look for them.
func googleCredentials(ctx context.Context, env environment) (*google.Credentials, error) {
	path, ok := env.own("GOOGLE_APPLICATION_CREDENTIALS")
	if !ok {
		return google.FindDefaultCredentials(ctx, storage.ScopeReadWrite)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kind struct {
		Type google.CredentialsType `json:"type"`
	}
	if json.Unmarshal(data, &kind) != nil {
		return nil, errors.New(path + " is no file of Google's credentials") // what Unmarshal says may show some of it
	}
	return google.CredentialsFromJSONWithType(ctx, data, kind.Type, storage.ScopeReadWrite)
}

func knowGCS(err error) (verdict, bool) {
	if token, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		v := verdict{code: Credentials, text: token.ErrorCode + " " + token.ErrorDescription}
		if strings.Contains(token.ErrorDescription, "iat") { // "Token must be a short-lived token ... Check your iat and exp values"
			v.code = Clock
		}
		return v, true
	}
	answer, ok := errors.AsType[*googleapi.Error](err)
	if !ok {
		if errors.Is(err, storage.ErrBucketNotExist) {
			return verdict{code: NoBucket}, true
		}
		return verdict{}, false
	}
	v := status(answer.Code)
	v.text = answer.Message
	reason := ""
	if len(answer.Errors) > 0 {
		reason = answer.Errors[0].Reason
	}
	switch {
	case answer.Code == http.StatusNotFound && !strings.Contains(answer.Message, "No such object"):
		// For a request about an object it is "No such object: bucket/name"; for one about a bucket, or about an object in a bucket
		// that is not there, "The specified bucket does not exist." An emulator may say nothing but Not Found.
		if strings.Contains(strings.ToLower(answer.Message), "bucket") {
			v.code = NoBucket
		}
	case strings.Contains(strings.ToLower(reason), "ratelimit"):
		v = verdict{code: Throttled, temporary: true, text: answer.Message}
	case reason == "quotaExceeded", reason == "storageQuotaExceeded":
		v = verdict{code: NoSpace, text: answer.Message}
	}
	return v, true
}
