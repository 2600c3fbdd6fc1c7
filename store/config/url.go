package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// parts is a set of parts that a URL may have after its scheme.
type parts uint8

const (
	partUser parts = 1 << iota
	partHost
	partPort
	partPath   // begins with a slash
	partOpaque // a path that does not, in a URL without a host
	partQuery
	partFragment // no store has one
	anyPart      = 1<<iota - 1
)

// names returns the parts and their names, in the order of a URL.
func (parts) names() ([]parts, []string) {
	return []parts{partUser, partHost, partPort, partPath, partOpaque, partQuery, partFragment},
		[]string{"user", "host", "port", "path", "relative path", "query", "fragment"}
}

// form says what the URLs of one scheme look like.
type form struct {
	may  parts
	must parts
	want string // an example, for messages
}

// forms returns the forms of all schemes. No other package checks which parts a URL has; what the parts may say is
// checked by the kind.
func forms() map[string]form {
	const (
		server = partHost | partPort | partQuery
		folder = partUser | server | partPath
		bucket = partHost | partPath | partQuery
	)
	return map[string]form{
		"packed":             {partPath | partOpaque, 0, "packed:/path"},
		"memory":             {0, 0, "memory:"},
		"objectstore+memory": {partPath | partQuery, 0, "objectstore+memory:"}, // tvix and snix allow a slash
		"objectstore+file":   {partPath | partQuery, partPath, "objectstore+file:/path"},
		"objectstore+http":   {folder, partHost, "objectstore+http://HOST/path"},
		"objectstore+https":  {folder, partHost, "objectstore+https://HOST/path"},
		"objectstore+s3":     {bucket, partHost, "objectstore+s3://bucket/path"},
		"objectstore+gs":     {bucket, partHost, "objectstore+gs://bucket/path"},
		"objectstore+az":     {bucket, partHost, "objectstore+az://bucket/path"},
		"grpc+http":          {server, partHost, "grpc+http://HOST:PORT"},
		"grpc+https":         {server, partHost, "grpc+https://HOST:PORT"},
		"grpc+unix":          {partPath | partQuery, partPath, "grpc+unix:/SOCKET"},
		"cache":              {partQuery, 0, "cache:?near=N&far=F"},
		"priority":           {partQuery, 0, "priority:?services[0]=A&services[1]=B"},
		"combined":           {may: anyPart}, // these have no URL at all
		"redb":               {may: anyPart},
		"redb+memory":        {may: anyPart},
		"sled":               {may: anyPart},
		"bigtable":           {partHost | partQuery, partHost, "bigtable://INSTANCE?project_id=P&table_name=T&family_name=F"},
	}
}

// checkForm reports a part of a URL that nothing would read, and a part that is missing. Its messages show only the scheme
// of the URL, because secrets may be anywhere.
func checkForm(scheme, rest string) error {
	f, ok := forms()[scheme]
	if !ok {
		return unknownScheme(kindOf(scheme), scheme)
	}
	has, port := partsOf(rest)
	set, names := has.names()
	for i, part := range set {
		switch {
		case has&^f.may&part == partOpaque && f.may&partPath == 0:
			return fmt.Errorf("%s takes no path: want %s", scheme, f.want)
		case has&^f.may&part != 0:
			return fmt.Errorf("%s takes no %s: want %s", scheme, names[i], f.want)
		case f.must&^has&part != 0:
			return fmt.Errorf("%s needs a %s: want %s", scheme, names[i], f.want)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); has&partPort != 0 && (err != nil || n == 0) {
		return errors.New("port: want a number from 1 to 65535")
	}
	return nil
}

// checkWhole is checkForm for the URL of a store of that kind.
func checkWhole(kind, text string) error {
	scheme, rest, ok := splitScheme(text)
	if !ok || kindOf(scheme) != kind {
		return unknownScheme(kind, scheme)
	}
	return checkForm(scheme, rest)
}

// unknownScheme is the error for a scheme that a kind of store lacks.
func unknownScheme(kind, scheme string) error {
	var want []string
	for _, s := range slices.Sorted(maps.Keys(forms())) {
		if kindOf(s) == kind {
			want = append(want, s)
		}
	}
	return fmt.Errorf("unknown scheme %q: want %s", scheme, strings.Join(want, ", "))
}

// partsOf returns the parts that a URL has after the colon of its scheme (RFC 3986, appendix B), and the port.
func partsOf(rest string) (has parts, port string) {
	note := func(part parts, there bool) {
		if there {
			has |= part
		}
	}
	rest, _, found := strings.Cut(rest, "#")
	note(partFragment, found)
	rest, _, found = strings.Cut(rest, "?")
	note(partQuery, found)
	rest, found = strings.CutPrefix(rest, "//")
	if !found {
		note(partPath, strings.HasPrefix(rest, "/"))
		note(partOpaque, rest != "" && has&partPath == 0)
		return has, ""
	}
	authority, path, _ := strings.Cut(rest, "/")
	note(partPath, path != "" || len(authority) < len(rest))
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		has |= partUser
		authority = authority[i+1:]
	}
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		has |= partPort
		authority, port = authority[:i], authority[i+1:]
	}
	note(partHost, authority != "")
	return has, port
}
