package server

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/memory"
	"castar/store/rpc"
	"castar/store/rpc/internal/rpctest"
)

func TestParseTokens(t *testing.T) {
	all := Rights{Put: true, Delete: true}
	for _, tt := range []struct {
		text string
		most Rights
		want []Token // nil: an error
		err  string
	}{
		{"secret\n", all, []Token{{"secret", all}}, ""},
		{"secret", Rights{}, []Token{{"secret", Rights{}}}, ""},
		{" \n\tsecret \r\n\n", all, []Token{{"secret", all}}, ""},
		{"# one\nsecret\n", all, []Token{{"secret", Rights{}}}, ""},
		{"a\nb\n", all, []Token{{"a", Rights{}}, {"b", Rights{}}}, ""},
		{"a put delete\nb put x/\nc y/z/ delete put", all,
			[]Token{{"a", all}, {"b", Rights{Put: true, Prefix: "x/"}}, {"c", Rights{true, true, "y/z/"}}}, ""},
		{"", all, nil, "contains no token"},
		{"# put\n\n", all, nil, "contains no token"},
		{"a put\na\n", all, nil, "line 2: the token comes twice"},
		{"a put put", all, nil, "line 1: want a token, and then put"},
		{"a x/ y/", all, nil, "line 1: want a token, and then put"},
		{"a Put", all, nil, "line 1: want a token, and then put"},
		{"a x", all, nil, "line 1: want a token, and then put"},
		{"a /", all, nil, "invalid tag"},
		{"a x//", all, nil, "invalid tag"},
		{"a ../", all, nil, "invalid tag"},
		{"\n\na put", Rights{}, nil, "line 3: put works only with --allow-put"},
		{"a delete", Rights{Put: true}, nil, "line 1: delete works only with --allow-delete"},
		{"sécret put", all, nil, "line 1: a token is printable ASCII"},
		{"a\x00b put", all, nil, "line 1: a token is printable ASCII"},
		{strings.Repeat("a", maxTokenFile+1), all, nil, "token too long"},
	} {
		got, err := ParseTokens(strings.NewReader(tt.text), tt.most)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%.40q: %v, %v, want %v, %q", tt.text, got, err, tt.want, tt.err)
		}
		if err != nil && strings.Contains(tt.text, "secret") && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows a secret: %v", tt.text, err)
		}
	}
}

func FuzzParseTokens(f *testing.F) {
	for _, text := range []string{"a", "a put\n#\nb delete x/", "a put put", "\xff", "a \u2028 put"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseTokens(strings.NewReader(text), Rights{Put: true, Delete: true})
		if err == nil && len(list) == 0 {
			t.Error("neither tokens nor an error")
		}
		tokens := NewTokens(list...)
		for _, want := range list {
			if got, ok := tokens.Find(want.Secret); !ok || got != want.Rights {
				t.Errorf("%q has %v, %v, want %v", want.Secret, got, ok, want.Rights)
			}
			if want.Prefix != "" && (!strings.HasSuffix(want.Prefix, "/") || store.ValidateTag(want.Prefix+"x") != nil) {
				t.Errorf("prefix %q", want.Prefix)
			}
		}
		if _, ok := tokens.Find(""); ok {
			t.Error("no secret is one")
		}
	})
}

// secret shows a token with each call.
func secret(token string) grpc.DialOption { return grpc.WithPerRPCCredentials(shown(token)) }

type shown string

func (s shown) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "bearer " + string(s)}, nil
}

func (shown) RequireTransportSecurity() bool { return false }

// Each client does what its token allows, and nothing else, whatever the others may do.
func TestRights(t *testing.T) {
	root := store.Node{Kind: store.KindSymlink, Target: "x"}
	other := store.Node{Kind: store.KindSymlink, Target: "y"}
	line := func(name string, root store.Node) store.Tag { return store.Tag{Name: name, Root: root} }
	do := map[string]func(st *store.Store) error{
		"get":            func(st *store.Store) error { _, err := st.Tags.Get(t.Context(), "a/there"); return err },
		"put":            func(st *store.Store) error { _, err := st.Directories.Put(t.Context(), nil); return err },
		"set":            func(st *store.Store) error { return st.Tags.Set(t.Context(), line("a/new", root)) },
		"set again":      func(st *store.Store) error { return st.Tags.Set(t.Context(), line("a/there", root)) },
		"move":           func(st *store.Store) error { return st.Tags.Set(t.Context(), line("a/there", other)) },
		"may set":        func(st *store.Store) error { return st.RemoteTags.MaySet(t.Context(), "a/new") },
		"may move":       func(st *store.Store) error { return st.RemoteTags.MaySet(t.Context(), "a/there") },
		"delete":         func(st *store.Store) error { return st.Tags.Delete(t.Context(), "a/there") },
		"record":         func(st *store.Store) error { return st.Tags.Record(t.Context(), line("a/new", root)) },
		"record no tag":  func(st *store.Store) error { return st.Tags.Record(t.Context(), line("", root)) },
		"forget":         func(st *store.Store) error { return st.Tags.Forget(t.Context(), []store.Tag{line("a/there", root)}) },
		"forget no tag":  func(st *store.Store) error { return st.Tags.Forget(t.Context(), []store.Tag{line("", root)}) },
		"set b":          func(st *store.Store) error { return st.Tags.Set(t.Context(), line("b/new", root)) },
		"set a sibling":  func(st *store.Store) error { return st.Tags.Set(t.Context(), line("ab", root)) },
		"set the prefix": func(st *store.Store) error { return st.Tags.Set(t.Context(), line("a", root)) },
		"may set b":      func(st *store.Store) error { return st.RemoteTags.MaySet(t.Context(), "b/new") },
		"move b":         func(st *store.Store) error { return st.Tags.Set(t.Context(), line("b/there", other)) },
		"delete b":       func(st *store.Store) error { return st.Tags.Delete(t.Context(), "b/there") },
		"record b":       func(st *store.Store) error { return st.Tags.Record(t.Context(), line("b/x", root)) },
		"forget b": func(st *store.Store) error {
			return st.Tags.Forget(t.Context(), []store.Tag{line("a/there", root), line("b/there", root)})
		},
		"gc": func(st *store.Store) error {
			_, err := st.Collector.Collect(t.Context(), store.CollectOptions{})
			if err == store.ErrUnsupported { // that it is allowed shows by what it lacks
				err = nil
			}
			return err
		},
	}
	reads := "get"
	puts := reads + ",put,set,set again,may set,record,record no tag"
	deletes := puts + ",move,may move,delete,forget"
	for _, tt := range []struct{ token, o, allowed string }{
		{"reader", "put delete", reads},
		{"putter a/", "put delete", puts},
		{"owner a/", "put delete", deletes},
		{"owner a/", "put", puts},
		{"owner a/", "", reads},
		{"putter", "put delete", puts + ",set b,set a sibling,set the prefix,may set b,record b"},
		{"admin", "put delete", "all"},
		{"deleter", "put delete", reads + ",delete,delete b,forget,forget no tag,forget b,gc"},
	} {
		tokens := NewTokens(Token{"reader", Rights{}}, Token{"putter a/", Rights{Put: true, Prefix: "a/"}}, Token{"putter", Rights{Put: true}},
			Token{"owner a/", Rights{true, true, "a/"}}, Token{"admin", Rights{Put: true, Delete: true}}, Token{"deleter", Rights{Delete: true}})
		for name, f := range do {
			st := memory.New()
			for _, tag := range []store.Tag{line("a/there", root), line("b/there", root), line("", root)} {
				if tag.Name != "" {
					st.Tags.Set(t.Context(), tag)
				}
				st.Tags.Record(t.Context(), tag)
			}
			l := serveStore(t, st, Options{AllowPut: strings.Contains(tt.o, "put"), AllowDelete: strings.Contains(tt.o, "delete"), Tokens: tokens})
			c := rpc.New(rpctest.Connect(t, l, secret(tt.token)), "server", "x", "")
			err := f(c)
			c.Close()
			want := tt.allowed == "all" || strings.Contains(","+tt.allowed+",", ","+name+",")
			if (err == nil) != want {
				t.Errorf("%s with the flags %q: %s: %v", tt.token, tt.o, name, err)
			}
		}
	}
}

// Nobody without a token is told anything, and tokens may change while a server runs.
func TestTokensChange(t *testing.T) {
	tokens := NewTokens(Token{"old", Rights{}})
	l := serveStore(t, memory.New(), Options{Tokens: tokens})
	can := func(token string) bool {
		c := rpc.New(rpctest.Connect(t, l, secret(token)), "server", "x", "")
		defer c.Close()
		_, err := c.Tags.Get(t.Context(), "x")
		if !store.IsNotFound(err) && !strings.Contains(err.Error(), "no valid token") {
			t.Error(err)
		}
		return store.IsNotFound(err)
	}
	if !can("old") || can("new") || can("") || can("ol") {
		t.Error("not the token decides")
	}
	tokens.Replace([]Token{{"new", Rights{}}})
	if can("old") || !can("new") {
		t.Error("the old token is valid still")
	}
	for method, err := range everyCall(t, rpctest.Connect(t, l)) {
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s without a token: %v", method, err)
		}
	}
}
