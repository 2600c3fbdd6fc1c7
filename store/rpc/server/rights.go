package server

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"castar/store"
)

// Rights are what a client may do besides reading.
type Rights struct {
	Put    bool   // store, record ingests, and set tags that do not exist
	Delete bool   // move and delete tags, and forget ingests; without a Prefix also collect garbage
	Prefix string // the beginning of the tags that it may set, move, delete, record and forget; "" for any
}

// Tokens are the secrets that clients show, and what each gives a right to. They may be replaced while a server uses
// them. All methods may be called concurrently.
type Tokens struct{ list atomic.Pointer[[]summedToken] }

// summedToken is a token whose secret takes the same time to compare, whatever its length.
type summedToken struct {
	sum [sha256.Size]byte
	Rights
}

// Token is a secret with the rights of its bearers.
type Token struct {
	Secret string
	Rights
}

// NewTokens returns tokens.
func NewTokens(list ...Token) *Tokens {
	t := new(Tokens)
	t.Replace(list)
	return t
}

// Replace puts other tokens in the place of all.
func (t *Tokens) Replace(list []Token) {
	summed := make([]summedToken, len(list))
	for i := range list {
		summed[i] = summedToken{sha256.Sum256([]byte(list[i].Secret)), list[i].Rights}
	}
	t.list.Store(&summed)
}

// Find returns the rights that a secret gives. It takes the same time for every secret of the same length.
func (t *Tokens) Find(secret string) (r Rights, ok bool) {
	shown := sha256.Sum256([]byte(secret))
	for _, of := range *t.list.Load() {
		if subtle.ConstantTimeCompare(shown[:], of.sum[:]) == 1 {
			r, ok = of.Rights, true
		}
	}
	return r, ok
}

const (
	// maxTokens is how many tokens a file may have, because each call looks at all of them.
	maxTokens = 10_000
	// maxTokenFile is the length of the longest file of tokens, in bytes.
	maxTokenFile = 4 << 20
)

// ParseTokens reads a file of tokens. Each line has a token of printable ASCII, and then, in any order, put, delete and a
// prefix of tags that ends in a slash. Empty lines and lines that begin with # are left out. No right of a token goes
// beyond those in most. A line that says more is an error, and so is a token that comes twice. If the file is one token
// and nothing else, the token has all rights in most.
func ParseTokens(r io.Reader, most Rights) (list []Token, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxTokenFile+1))
	lines.Buffer(nil, maxTokenFile)
	number, words := 0, 0
	for lines.Scan() {
		number++
		fields := strings.Fields(lines.Text())
		words += len(fields)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		t, err := parseToken(fields, most)
		if err == nil && slices.ContainsFunc(list, func(o Token) bool { return o.Secret == t.Secret }) {
			err = fmt.Errorf("the token comes twice")
		}
		if err == nil && len(list) == maxTokens {
			err = fmt.Errorf("more than %d tokens", maxTokens)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		list = append(list, t)
	}
	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	case len(list) == 0:
		return nil, fmt.Errorf("contains no token")
	case words == 1:
		list[0].Rights = most
	}
	return list, nil
}

// parseToken reads the words of a line.
func parseToken(words []string, most Rights) (t Token, err error) {
	t.Secret = words[0]
	if strings.ContainsFunc(t.Secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return t, fmt.Errorf("a token is printable ASCII")
	}
	for _, word := range words[1:] {
		prefix, isPrefix := strings.CutSuffix(word, "/")
		switch {
		case word == "put" && !t.Put:
			t.Put = true
		case word == "delete" && !t.Delete:
			t.Delete = true
		case isPrefix && t.Prefix == "":
			t.Prefix = word
			err = store.ValidateTag(prefix)
		default: // it may be a part of a secret
			err = fmt.Errorf("want a token, and then put, delete and a prefix that ends in a slash, each at most once")
		}
		if err != nil {
			return t, err
		}
	}
	switch {
	case t.Put && !most.Put:
		err = fmt.Errorf("put works only with --allow-put")
	case t.Delete && !most.Delete:
		err = fmt.Errorf("delete works only with --allow-delete")
	}
	return t, err
}

// rightsOf returns the rights of the client that makes a call. A call that shows no valid token is refused.
func (s *Server) rightsOf(ctx context.Context) (Rights, error) {
	most := Rights{Put: s.o.AllowPut, Delete: s.o.AllowDelete}
	if s.o.Tokens == nil {
		return most, nil
	}
	for _, v := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		scheme, secret, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "bearer") {
			continue
		}
		if r, ok := s.o.Tokens.Find(secret); ok {
			return Rights{r.Put && most.Put, r.Delete && most.Delete, r.Prefix}, nil
		}
	}
	return Rights{}, refusef(codes.Unauthenticated, "no valid token")
}

// mayPut refuses to store unless the client may. The answer will name the instance.
func (s *Server) mayPut(ctx context.Context) error {
	if err := s.hasPut(ctx); err != nil {
		return err
	}
	return s.identify(ctx)
}

// hasPut refuses unless the client may store.
func (s *Server) hasPut(ctx context.Context) error {
	switch {
	case !s.o.AllowPut:
		return refusef(codes.PermissionDenied, "%v: the server allows no Put", store.ErrReadOnly)
	case !callOf(ctx).rights.Put:
		return deniedf("this client may not store")
	}
	return s.opened.mayPut()
}

// mayDelete refuses unless the client may delete. what is what it wants to do.
func mayDelete(ctx context.Context, what string) error {
	if !callOf(ctx).rights.Delete {
		return deniedf("%s needs the right to delete", what)
	}
	return nil
}

// mayName refuses a tag outside the client's prefix.
func mayName(ctx context.Context, tag string) error {
	if prefix := callOf(ctx).rights.Prefix; !strings.HasPrefix(tag, prefix) {
		return deniedf("this client has only the tags below %s, and not %q", prefix, tag)
	}
	return nil
}

// deniedf is the error for a client that lacks a right.
func deniedf(format string, args ...any) error {
	return refusef(codes.PermissionDenied, "%v: "+format, append([]any{store.ErrDenied}, args...)...)
}
