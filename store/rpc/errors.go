package rpc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

// corrupt reports that the server sent something wrong for d.
func corrupt(d store.Digest, err error) error {
	return &store.CorruptError{Digest: d, Where: "the server", Err: err}
}

// serverStatus is what a call to a server ended with, as a status.
type serverStatus struct {
	server string
	status *status.Status
}

// saidBy returns err with the name of the server that it came from, if it is a status.
func saidBy(server string, err error) error {
	if _, again := err.(*serverStatus); err == nil || again {
		return err
	}
	if s, ok := status.FromError(err); ok {
		return &serverStatus{server, s}
	}
	return err
}

func (s *serverStatus) Error() string              { return s.status.String() }
func (s *serverStatus) GRPCStatus() *status.Status { return s.status }

// serverOf returns the server that an error came from.
func serverOf(err error) string {
	if by, ok := errors.AsType[*serverStatus](err); ok {
		return by.server
	}
	return "server"
}

// plain returns why a connection failed, without the words of gRPC around the reason.
func plain(text string) string {
	for again := true; again; {
		again = false
		for _, start := range []string{"connection error: desc = ", "last connection error: ", "transport: ", "Error while dialing: ",
			"name resolver error: ", "dns: A record lookup error: ", "dial tcp ", "dial unix ", "connect: "} {
			rest, ok := strings.CutPrefix(text, start)
			if ok && strings.HasPrefix(start, "dial ") { // the address follows
				_, rest, ok = strings.Cut(rest, ": ")
			}
			if ok {
				text, again = rest, true
			}
		}
		if inner, err := strconv.Unquote(text); err == nil {
			text, again = inner, true
		}
	}
	if text == "produced zero addresses" {
		return "no such host"
	}
	return text
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
		return &store.CorruptError{Digest: d, Err: errors.New(serverOf(err) + ": " + text)}
	case codes.Canceled, codes.DeadlineExceeded:
		if is := wire.Meaning(s.Code()); s.Message() == is.Error() {
			return fmt.Errorf("%s: %w", d, is)
		}
	}
	return reported(err, s.Message())
}

// reported returns the error of a call, in these words.
func reported(err error, text string) error {
	e := &wire.Error{Code: status.Code(err), Text: text}
	if e.Code == codes.Unavailable || e.Code == codes.Unauthenticated {
		e.Text = plain(text)
		return &store.ServerError{Server: serverOf(err), Err: e}
	}
	return fmt.Errorf("%s: %w", serverOf(err), e)
}

// longDirectory is the length of the shortest directory that a server might refuse, in bytes. tvix and snix take 4 MiB.
const longDirectory = 64 << 10

// longDirectories remembers the long directories that were sent, because a server may refuse one after others were sent.
// Its methods may be called concurrently.
type longDirectories struct {
	mu   sync.Mutex
	sent map[int]sentDirectory // by length, the only thing that servers tell
}

type sentDirectory struct {
	digest  store.Digest
	entries int
}

// note remembers a directory if its message is long.
func (l *longDirectories) note(d store.Digest, dir store.Directory, message []byte) {
	if len(message) < longDirectory {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent == nil {
		l.sent = map[int]sentDirectory{}
	}
	l.sent[len(message)] = sentDirectory{d, len(dir)}
}

// explain adds to the error of a refused message the directory and the server's limit. All servers say how long the
// message is, and some the limit.
func (l *longDirectories) explain(err error) error {
	if code := status.Code(err); code != codes.ResourceExhausted && code != codes.OutOfRange {
		return err
	}
	var numbers []int
	for _, text := range strings.FieldsFunc(status.Convert(err).Message(), func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ := strconv.Atoi(text) // a number too large to be a length is none
		numbers = append(numbers, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range numbers {
		dir, ok := l.sent[n]
		if !ok {
			continue
		}
		limit := "fewer"
		for _, m := range numbers {
			if 0 < m && m < n {
				limit = fmt.Sprintf("at most %d", m)
			}
		}
		return fmt.Errorf("directory %s: its %d entries make a message of %d bytes, and the server takes %s",
			dir.digest, dir.entries, n, limit)
	}
	return err
}

// tooLong explains the error of a directory that is too long to be received.
func tooLong(d store.Digest, err error) error {
	if status.Code(err) != codes.ResourceExhausted ||
		!strings.HasPrefix(status.Convert(err).Message(), "grpc: received message larger") {
		return err
	}
	return fmt.Errorf("%s: the server's message is longer than %d bytes", d, clientMessageSize)
}
