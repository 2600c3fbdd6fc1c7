//go:build cloud

package service_test

import (
	"testing"

	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
)

func TestCloud(t *testing.T) {
	t.Parallel()
	buckettest.CheckPlain(t, service.OpenMemblob())
}
