package rpc

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
)

// longDirectory is the length of the shortest directory that a server may refuse, in bytes. Those of tvix and snix take
// 4 MiB.
const longDirectory = 64 << 10

// longDirectories are those that were sent to a server, which may refuse them when others are sent already. Its methods
// may be called concurrently.
type longDirectories struct {
	mu   sync.Mutex
	sent map[int]sentDirectory // by their length, which is what servers say
}

type sentDirectory struct {
	digest  store.Digest
	entries int
}

// note remembers a directory that is sent as a message, if it is long.
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

// explain names the directory that the server refused as too long, and the server's limit as far as it says it, if err is
// that. All servers say how long the message is.
func (l *longDirectories) explain(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok || s.Code() != codes.ResourceExhausted && s.Code() != codes.OutOfRange {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	numbers := strings.FieldsFunc(s.Message(), func(r rune) bool { return r < '0' || r > '9' })
	for _, text := range numbers {
		n, err := strconv.Atoi(text)
		dir, ok := l.sent[n]
		if err != nil || !ok {
			continue
		}
		limit := "fewer"
		for _, other := range numbers {
			if m, err := strconv.Atoi(other); err == nil && m < n && m > 0 {
				limit = "at most " + other
			}
		}
		return fmt.Errorf("directory %s: its %d entries make a message of %d bytes, and the server takes %s", dir.digest, dir.entries, n, limit)
	}
	return err
}

// tooLong explains why a directory could not be received, where it is longer than what is taken.
func tooLong(d store.Digest, err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok || s.Code() != codes.ResourceExhausted || !strings.HasPrefix(s.Message(), "grpc: received message larger") {
		return err
	}
	return fmt.Errorf("%s: the message of the server is longer than the %d bytes that are taken", d, clientMessageSize)
}
