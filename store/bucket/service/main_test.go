package service_test

import (
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"castar/store/storetest/gorace"
)

func TestMain(m *testing.M) {
	gorace.Restart()
	minio.DefaultRetryUnit = time.Millisecond // the client waits that long after a last try, too
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), // connections that are kept for the next request
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	)
}
