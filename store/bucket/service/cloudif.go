//go:build cloud

package service

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"strconv"

	"castar/store"
	"castar/store/bucket"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azureblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"gocloud.dev/blob"
)

// lost is the version of an object that was stored and then replaced by another writer. No object has it.
const lost bucket.Version = "lost"

// Load gets the version from the same answer as the bytes: Google's generation, or Azure's ETag.
func (c *cloudBucket) Load(ctx context.Context, name string) ([]byte, bucket.Version, error) {
	r, err := c.b.NewReader(ctx, name, nil)
	if err != nil {
		return nil, "", c.fail(ctx, name, err)
	}
	defer r.Close()
	var v bucket.Version
	var google *storage.Reader
	var azure azureblob.DownloadStreamResponse
	switch {
	case r.As(&google):
		v = bucket.Version(strconv.FormatInt(google.Attrs.Generation, 10))
	case r.As(&azure) && azure.ETag != nil:
		v = bucket.Version(*azure.ETag)
	default:
		return nil, "", fmt.Errorf("%s/%s: versions of objects: %w", c, name, store.ErrUnsupported)
	}
	data, err := io.ReadAll(io.LimitReader(r, bucket.MaxLoad+1))
	if err = errors.Join(err, c.meter.Call(ctx, 0, int64(len(data)))); err != nil {
		return nil, "", c.fail(ctx, name, err)
	}
	return bucket.Loaded(c.name+"/"+name, data, v)
}

// PutIf reads the version of what it stored, because the client does not return it.
func (c *cloudBucket) PutIf(ctx context.Context, name string, data []byte, old bucket.Version) (bucket.Version, error) {
	if old == lost {
		return "", fmt.Errorf("%s/%s: %w", c, name, bucket.ErrChanged)
	}
	err := c.put(ctx, name, data, func(as func(any) bool) error { return setCondition(as, old) })
	if old != bucket.Absent && store.IsNotFound(c.fail(ctx, name, err)) {
		err = bucket.ErrChanged
	}
	if err != nil {
		return "", c.fail(ctx, name, err)
	}
	now, v, err := c.Load(ctx, name)
	if store.IsNotFound(err) || err == nil && !bytes.Equal(now, data) {
		return lost, nil
	}
	return v, err
}

// put stores an object after prepare, which gets what blob.WriterOptions.BeforeWrite does. The digest in the request lets the
// service refuse an object that was damaged on the way. It does without blob.Bucket.WriteAll, which sends that digest too:
// its writer for Azure's service panics when that refuses the object.
func (c *cloudBucket) put(ctx context.Context, name string, data []byte, prepare func(as func(any) bool) error) error {
	if err := c.meter.Call(ctx, int64(len(data)), 0); err != nil {
		return err
	}
	sum := md5.Sum(data)
	before := func(as func(any) bool) error {
		if err := prepare(as); err != nil {
			return err
		}
		var google *storage.Writer
		var azure *azblob.UploadStreamOptions
		if as(&google) {
			google.MD5 = sum[:]
		} else if as(&azure) {
			azure.HTTPHeaders.BlobContentMD5 = sum[:]
		}
		return nil
	}
	o := &blob.WriterOptions{ContentType: "application/octet-stream", BeforeWrite: before}
	return c.b.Upload(ctx, name, bytes.NewReader(data), o)
}

// setCondition makes a write depend on the version of the object, or on its absence.
func setCondition(as func(any) bool, old bucket.Version) error {
	var google **storage.ObjectHandle
	var azure *azblob.UploadStreamOptions
	switch {
	case as(&google):
		conditions := storage.Conditions{DoesNotExist: old == bucket.Absent}
		if old != bucket.Absent {
			generation, err := strconv.ParseInt(string(old), 10, 64)
			if err != nil {
				return err
			}
			conditions.GenerationMatch = generation
		}
		*google = (*google).If(conditions)
	case as(&azure):
		tag, any := azcore.ETag(old), azcore.ETagAny
		conditions := &azureblob.ModifiedAccessConditions{IfMatch: &tag}
		if old == bucket.Absent {
			conditions = &azureblob.ModifiedAccessConditions{IfNoneMatch: &any}
		}
		azure.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: conditions}
	default:
		return fmt.Errorf("conditional writes: %w", store.ErrUnsupported)
	}
	return nil
}
