//go:build !cloud

package bucket

import (
	"context"
	"errors"
)

// openCloud returns an error: the program was built without these services.
func openCloud(context.Context, string, string, string, map[string]string) (Bucket, error) {
	return nil, errors.New("built without this service: build castar with -tags cloud")
}
