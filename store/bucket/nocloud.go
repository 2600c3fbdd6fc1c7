//go:build !cloud

package bucket

import (
	"context"
	"errors"

	"castar/store/meter"
)

// openCloud returns an error: the program was built without these services.
func openCloud(context.Context, string, string, string, map[string]string, *meter.Meter) (Bucket, error) {
	return nil, errors.New("built without this service: build castar with -tags cloud")
}
