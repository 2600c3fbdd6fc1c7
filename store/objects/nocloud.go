//go:build !cloud

package objects

import (
	"context"
	"errors"
)

// openCloud opens a bucket of a service that this program was not built for.
func openCloud(context.Context, string, string, string, map[string]string) (Bucket, error) {
	return nil, errors.New("built without this service: build castar with -tags cloud")
}
