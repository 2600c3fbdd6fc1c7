//go:build !cloud

package service

import (
	"context"
	"errors"

	"castar/store/bucket"
	"castar/store/traffic"
)

// openCloud returns an error: the program was built without these services.
func openCloud(context.Context, string, string, string, map[string]string, *traffic.Meter) (bucket.Bucket, error) {
	return nil, errors.New("built without this service: build castar with -tags cloud")
}
