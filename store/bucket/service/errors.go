package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"castar/store"
	"castar/store/bucket"
)

// failed adds what an error is about: the server if that could not be reached. If ctx has ended, that is the reason. passes
// says that the error is an *Unavailable.
func failed(ctx context.Context, server, about string, err error, passes bool) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", about, ctx.Err())
	}
	if reason := unreached(server, err); reason != nil {
		err = &store.ServerError{Server: server, Err: reason}
	} else {
		err = fmt.Errorf("%s: %w", about, err)
	}
	if passes {
		return &bucket.Unavailable{Err: err}
	}
	return err
}

// unreached returns why a server could not be reached, in the fewest words, or nil if it could.
func unreached(server string, err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && strings.Contains(server, e.Name) {
		return errors.New(e.Err)
	} else if ok {
		return fmt.Errorf("%s: %s", e.Name, e.Err)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		if call, ok := errors.AsType[*os.SyscallError](e); ok {
			return call.Err
		}
		return e.Err
	}
	return nil
}

// isFinal reports whether an error of the connection will stay: an unknown host, or a certificate that cannot be verified.
func isFinal(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// passing reports whether a service that answers with that status may answer otherwise if it is asked again.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage, http.StatusLoopDetected:
		return false
	}
	return status >= 500
}
