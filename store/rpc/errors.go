package rpc

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

// corrupt reports that the server sent something wrong for d.
func corrupt(d store.Digest, err error) error {
	return &store.CorruptError{Digest: d, Where: "the server", Err: err}
}

// fromStatus turns the error of a call about d into one of package store.
func fromStatus(err error, d store.Digest) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	// tvix and snix say "wrong size", and follow one rule. A server of castar takes either, and says "throughout".
	if strings.Contains(s.Message(), "wrong size") && !strings.Contains(s.Message(), " throughout") {
		// A server of castar passes on the error of a server behind it, with its first words.
		return &store.SizeRuleError{Text: strings.TrimPrefix(s.Message(), (&store.SizeRuleError{}).Error())}
	}
	switch s.Code() {
	case codes.NotFound:
		return fmt.Errorf("%s: %w", d, store.ErrNotFound)
	case codes.DataLoss:
		text := strings.TrimPrefix(s.Message(), d.String()+": corrupt: ")
		return &store.CorruptError{Digest: d, Err: errors.New("server: " + text)}
	case codes.Canceled, codes.DeadlineExceeded:
		if is := wire.Meaning(s.Code()); s.Message() == is.Error() {
			return fmt.Errorf("%s: %w", d, is)
		}
	}
	return &wire.Error{Code: s.Code(), Text: s.Message()}
}
