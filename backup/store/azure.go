package store

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

// openAzure takes the parameters and variables that gocloud's own opener takes, but looks the variables up in Options.Env first.
func openAzure(ctx context.Context, u *url.URL, prefix string, o Options) (driver, error) {
	env := environment(o.Env)
	travel, err := newTransport(o, env.get("SSL_CERT_FILE"))
	if err != nil {
		return nil, problem(TLS, err, "")
	}
	client, err := azureContainer(u, env, policy.ClientOptions{
		Transport: travel.client(),
		Retry:     policy.RetryOptions{MaxRetries: -1}, // we try again ourselves
	})
	if err != nil {
		return nil, err
	}
	bucket, err := azureblob.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, err
	}
	none := azcore.ETagAny
	return &cloud{
		bucket: bucket, prefix: prefix, travel: travel, know: knowAzure,
		create: func(ctx context.Context, name string, body []byte) error {
			_, err := client.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(body)), &blockblob.UploadOptions{
				AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &none}},
			})
			return err
		},
		erase: func(ctx context.Context, name string) error {
			_, err := client.NewBlobClient(name).Delete(ctx, nil)
			return err
		},
	}, nil
}

// azureContainer finds the account and its credentials: a shared key, a shared access signature, a connection string, or what
// Azure's own programs use.
func azureContainer(u *url.URL, env environment, o policy.ClientOptions) (*container.Client, error) {
	service := azureblob.ServiceURLOptions{
		AccountName: env.get("AZURE_STORAGE_ACCOUNT"), StorageDomain: env.get("AZURE_STORAGE_DOMAIN"), Protocol: env.get("AZURE_STORAGE_PROTOCOL"),
	}
	service.IsLocalEmulator, _ = strconv.ParseBool(env.get("AZURE_STORAGE_IS_LOCAL_EMULATOR"))
	connection := env.get("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING")
	own := service
	for name, values := range u.Query() {
		switch name {
		case "storage_account":
			service.AccountName = values[0]
		case "domain":
			service.StorageDomain = values[0]
		case "protocol":
			service.Protocol = values[0]
		case "localemu":
			service.IsLocalEmulator, _ = strconv.ParseBool(values[0])
		}
	}
	options := &container.ClientOptions{ClientOptions: o}
	key, sas := env.get("AZURE_STORAGE_KEY"), env.get("AZURE_STORAGE_SAS_TOKEN")
	if key == "" && sas == "" && connection != "" {
		return container.NewClientFromConnectionString(connection, u.Host, options)
	}
	if service.AccountName == "" {
		return nil, problem(Credentials, errors.New("no storage account is named: storage_account=... in the URL, or AZURE_STORAGE_ACCOUNT"), "")
	}
	at, err := azureblob.NewServiceURL(&service)
	if err != nil {
		return nil, problem(BadURL, err, "")
	}
	where := string(at) + "/" + u.Host
	switch {
	case key != "":
		shared, err := container.NewSharedKeyCredential(service.AccountName, key)
		if err != nil {
			return nil, problem(Credentials, errors.New("AZURE_STORAGE_KEY is no key: base64"), "")
		}
		return container.NewClientWithSharedKeyCredential(where, shared, options)
	case sas != "":
		if own.AccountName != "" && own != service { // a signature in a URL must go to nobody else
			return nil, problem(BadURL, errors.New("it names another account or host than AZURE_STORAGE_SAS_TOKEN is for"), "")
		}
		return container.NewClientWithNoCredential(where+"?"+strings.TrimPrefix(sas, "?"), options)
	}
	identity, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(where, identity, options)
}

// azureCodes are the codes of Azure's errors that mean more than their HTTP status.
var azureCodes = map[bloberror.Code]verdict{
	bloberror.AuthenticationFailed:            {code: Credentials},
	bloberror.NoAuthenticationInformation:     {code: Credentials},
	bloberror.InvalidAuthenticationInfo:       {code: Credentials},
	bloberror.AuthorizationFailure:            {code: Permission},
	bloberror.AuthorizationPermissionMismatch: {code: Permission},
	bloberror.InsufficientAccountPermissions:  {code: Permission},
	bloberror.AuthorizationSourceIPMismatch:   {code: Permission},
	bloberror.AccountIsDisabled:               {code: Permission},
	bloberror.ContainerNotFound:               {code: NoBucket},
	bloberror.ContainerBeingDeleted:           {code: NoBucket},
	bloberror.ContainerDisabled:               {code: NoBucket},
	bloberror.BlobNotFound:                    {code: NotFound},
	bloberror.ResourceNotFound:                {code: NoBucket},
	bloberror.BlobAlreadyExists:               {code: Exists},
	bloberror.ConditionNotMet:                 {code: Exists},
	bloberror.ServerBusy:                      {code: Throttled, temporary: true},
	bloberror.OperationTimedOut:               {code: Server, temporary: true},
	bloberror.InternalError:                   {code: Server, temporary: true},
	bloberror.MD5Mismatch:                     {code: Lost, temporary: true},
	bloberror.BlobImmutableDueToPolicy:        {code: Permission},
}

func knowAzure(err error) (verdict, bool) {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		v, found := azureCodes[bloberror.Code(answer.ErrorCode)]
		if !found {
			v = status(answer.StatusCode)
		}
		v.text = answer.ErrorCode
		if v.text == "" {
			v.text = strconv.Itoa(answer.StatusCode)
		}
		return v, true
	}
	if _, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok || strings.Contains(err.Error(), "DefaultAzureCredential") {
		return verdict{code: Credentials}, true
	}
	return verdict{}, false
}
