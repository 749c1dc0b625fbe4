package store

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob/s3blob"
)

// openS3 takes gocloud's parameters and adds what stores other than Amazon's need: with an endpoint, paths instead of names of
// hosts, no checksums that only Amazon knows, and a region if none is given.
func openS3(ctx context.Context, u *url.URL, prefix string, o Options) (driver, error) {
	q, env := u.Query(), environment(o.Env)
	take := func(name string) string {
		v := q.Get(name)
		q.Del(name)
		return v
	}
	endpoint := take("endpoint")
	if endpoint == "" {
		endpoint = env.get("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	}
	if err := checkEndpoint(endpoint); err != nil { // the environment's, too
		return nil, problem(BadURL, err, "")
	}
	pathStyle := endpoint != ""
	for _, name := range []string{"use_path_style", "s3ForcePathStyle"} {
		if v := take(name); v != "" {
			pathStyle, _ = strconv.ParseBool(v)
		}
	}
	encryption, kms := types.ServerSideEncryption(take("ssetype")), take("kmskeyid")
	if q.Get("profile") == "" && env.get("AWS_PROFILE") != "" {
		q.Set("profile", env.get("AWS_PROFILE"))
	}
	const sums = "request_checksum_calculation"
	if endpoint != "" && q.Get(sums) == "" && env.get("AWS_REQUEST_CHECKSUM_CALCULATION") == "" {
		q.Set(sums, "when_required")
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		if strings.Contains(err.Error(), "query parameter") || strings.Contains(err.Error(), "invalid value") {
			return nil, problem(BadURL, err, "")
		}
		return nil, err
	}
	if id, ok := env.own("AWS_ACCESS_KEY_ID"); ok && q.Get("anonymous") == "" {
		secret, _ := env.own("AWS_SECRET_ACCESS_KEY")
		token, _ := env.own("AWS_SESSION_TOKEN")
		cfg.Credentials = credentials.NewStaticCredentialsProvider(id, secret, token)
	}
	if region, ok := env.own("AWS_REGION"); ok && q.Get("region") == "" {
		cfg.Region = region
	}
	if cfg.Region == "" {
		if endpoint == "" {
			return nil, problem(Region, errors.New("none is given"), "")
		}
		cfg.Region = "us-east-1"
	}
	if endpoint != "" {
		cfg.BaseEndpoint = aws.String(endpoint)
	}
	travel, err := newTransport(o, env.get("AWS_CA_BUNDLE", "SSL_CERT_FILE"))
	if err != nil {
		return nil, problem(TLS, err, "")
	}
	cfg.HTTPClient = travel.client()
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} } // we try again ourselves
	client := s3.NewFromConfig(cfg, func(s *s3.Options) {
		s.UsePathStyle = pathStyle
		s.DisableLogOutputChecksumValidationSkipped = true // readers have their own sums, and standard error is not the library's
		s.ContinueHeaderThresholdBytes = 64 << 10          // ask before sending a body: a server that refuses it may just hang up
	})
	bucket, err := s3blob.OpenBucket(ctx, client, u.Host, nil)
	if err != nil {
		return nil, err
	}
	return &cloud{
		bucket: bucket, prefix: prefix, travel: travel, know: knowS3,
		create: func(ctx context.Context, name string, body []byte) error {
			in := &s3.PutObjectInput{
				Bucket: aws.String(u.Host), Key: aws.String(name), Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
				ContentType: aws.String("application/octet-stream"), IfNoneMatch: aws.String("*"), ServerSideEncryption: encryption,
			}
			if kms != "" {
				in.SSEKMSKeyId = aws.String(kms)
			}
			_, err := client.PutObject(ctx, in)
			return err
		},
		erase: func(ctx context.Context, name string) error {
			_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(u.Host), Key: aws.String(name)})
			return err
		},
	}, nil
}

// checkEndpoint refuses what is no address, and one with a password in it.
func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the endpoint is not http://host:port or https://host")
	case u.User != nil:
		return errors.New("credentials do not belong into the endpoint")
	}
	return nil
}

// s3Codes are the codes of S3's errors that mean more than their HTTP status.
var s3Codes = map[string]verdict{
	"InvalidAccessKeyId":                 {code: Credentials},
	"InvalidClientTokenId":               {code: Credentials},
	"SignatureDoesNotMatch":              {code: Credentials},
	"InvalidToken":                       {code: Credentials},
	"ExpiredToken":                       {code: Credentials},
	"TokenRefreshRequired":               {code: Credentials},
	"AuthorizationHeaderMalformed":       {code: Region},
	"PermanentRedirect":                  {code: Region},
	"IllegalLocationConstraintException": {code: Region},
	"MovedPermanently":                   {code: Region},
	"AccessDenied":                       {code: Permission},
	"AllAccessDisabled":                  {code: Permission},
	"AccountProblem":                     {code: Permission},
	"NoSuchBucket":                       {code: NoBucket},
	"NoSuchKey":                          {code: NotFound},
	"NotFound":                           {code: NotFound},
	"RequestTimeTooSkewed":               {code: Clock},
	"RequestExpired":                     {code: Clock},
	"PreconditionFailed":                 {code: Exists},
	"ConditionalRequestConflict":         {code: Server, temporary: true}, // another one is writing it
	"OperationAborted":                   {code: Server, temporary: true},
	"SlowDown":                           {code: Throttled, temporary: true},
	"Throttling":                         {code: Throttled, temporary: true},
	"ThrottlingException":                {code: Throttled, temporary: true},
	"RequestLimitExceeded":               {code: Throttled, temporary: true},
	"TooManyRequests":                    {code: Throttled, temporary: true},
	"BandwidthLimitExceeded":             {code: Throttled, temporary: true},
	"RequestTimeout":                     {code: Stalled, temporary: true},
	"IncompleteBody":                     {code: Lost, temporary: true},
	"BadDigest":                          {code: Lost, temporary: true},
	"XAmzContentSHA256Mismatch":          {code: Lost, temporary: true},
	"QuotaExceeded":                      {code: NoSpace},
	"XMinioStorageFull":                  {code: NoSpace},
	"InsufficientStorage":                {code: NoSpace},
	"NotImplemented":                     {code: Refused},
}

func knowS3(err error) (verdict, bool) {
	text := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		text = api.ErrorCode()
		if api.ErrorMessage() != "" {
			text += ": " + api.ErrorMessage()
		}
		if v, ok := s3Codes[api.ErrorCode()]; ok {
			v.text = text
			return v, true
		}
	}
	if v, ok := network(err); ok {
		return v, true
	}
	if strings.Contains(err.Error(), "failed to refresh cached credentials") || strings.Contains(err.Error(), "get identity") ||
		strings.Contains(err.Error(), "static credentials are empty") {
		return verdict{code: Credentials, text: "none were found, or they cannot be refreshed: " + err.Error()}, true
	}
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		v := status(answer.HTTPStatusCode())
		if answer.HTTPStatusCode() == http.StatusMovedPermanently {
			v = verdict{code: Region}
		}
		v.text = text
		return v, true
	}
	return verdict{}, false
}
