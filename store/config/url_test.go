package config

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// castar accepts every URL that tvix or snix accept, if it can open it. "" is no error.
func TestURLs(t *testing.T) {
	for _, tt := range slices.Concat(plainURLs(), objectURLs(), otherURLs()) {
		_, err := parse(tt.url)
		switch {
		case err == nil && tt.want != "":
			t.Errorf("%s: accepted, want %q", tt.url, tt.want)
		case err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want %q", tt.url, err, tt.want)
		}
	}
}

// urlTest is a URL and a part of its error.
type urlTest struct{ url, want string }

const (
	noRedb  = "because there is no library for it: serve it with the program that made it"
	unknown = "unknown scheme"
	half    = "it keeps no blobs, which a composition file can add"
)

// plainURLs are those of packed, memory and grpc.
func plainURLs() []urlTest {
	return []urlTest{
		{"packed:/p", ""},
		{"packed:", "no path"},
		{"/p", ""},
		{"", "no path"},

		{"memory:", ""},
		{"memory://", ""},
		{"memory://foo", "memory takes no host: want memory:"},
		{"memory:/", "memory takes no path"},
		{"memory:/foo", "memory takes no path"},
		{"memory:?x", "memory takes no query"},

		{"grpc+http://[::1]:12345", ""},
		{"grpc+http://localhost", ""},
		{"grpc+https://localhost", ""},
		{"grpc+https://localhost?package=snix&token-path=/t", ""},
		{"grpc+http://localhost/some-path", "grpc+http takes no path: want grpc+http://HOST:PORT"},
		{"grpc+http:localhost", "grpc+http needs a host"},
		{"grpc+http://user@localhost", "grpc+http takes no user"},
		{"grpc+unix:/p", ""},
		{"grpc+unix:///p", ""},
		{"grpc+unix://host/p", "grpc+unix takes no host"},
		{"grpc+unix:p", "grpc+unix needs a path"},
		{"grpc+ftp://host", `unknown scheme "grpc+ftp"`},
		{"grpc://host", `unknown scheme "grpc"`},
	}
}

// objectURLs are those of objectstore.
func objectURLs() []urlTest {
	return []urlTest{
		{"objectstore+memory:///", ""},
		{"objectstore+memory:", ""},
		{"objectstore+memory://x", "objectstore+memory takes no host"},
		{"objectstore+memory:/path", "objectstore+memory takes no path"},
		{"objectstore+memory:path", "objectstore+memory takes no relative path"},
		{"objectstore+s3:bucket", "objectstore+s3 needs a host"},
		{"objectstore+https://:80/path", "objectstore+https needs a host"},
		{"objectstore+gs://", "objectstore+gs needs a host"},
		{"objectstore+file:///p", ""},
		{"objectstore+file:/p", ""},
		{"objectstore+file:p", "objectstore+file needs a path"},
		{"objectstore+file://host/p", "objectstore+file takes no host"},
		{"objectstore+file:/", "objectstore+file needs a path"},
		{"objectstore+s3://bucket/path", ""},
		{"objectstore+s3://bucket/path?aws_region=x", ""},
		{"objectstore+s3:///path", "objectstore+s3 needs a host: want objectstore+s3://bucket/path"},
		{"objectstore+gs://bucket/path", ""},
		{"objectstore+az://bucket/path", ""},
		{"objectstore+s3://user@bucket/path", "objectstore+s3 takes no user"},
		{"objectstore+http://host/path", ""},
		{"objectstore+http://host", ""},
		{"objectstore+https://user:password@host:8080/path?user_agent=x", ""},
		{"objectstore+http:///path", "objectstore+http needs a host"},
		{"objectstore+https:path", "objectstore+https needs a host"},
		{"objectstore+http://host/path#x", "objectstore+http takes no fragment"},
		{"objectstore+ftp://host/path", `unknown scheme "objectstore+ftp": want objectstore+az, `},
		{"objectstore:/p", `unknown scheme "objectstore": want objectstore+az, objectstore+file, `},
		{"file:///p", unknown},
	}
}

// otherURLs are those of all other kinds.
func otherURLs() []urlTest {
	return []urlTest{
		{"redb:", noRedb},
		{"redb://", noRedb},
		{"redb+memory:", noRedb},
		{"redb:/abs/path?read_only=true", noRedb},
		{"redb:///abs/path", noRedb},

		{"cache:?near=memory:&far=memory://", ""},
		{"cache://?near=memory%3A&far=/p&write_through=true", ""},
		{"cache:?near=memory:", "missing far"},
		{"cache:", "missing near and far"},
		{"cache:x?near=memory:&far=memory:", "cache takes no path: want cache:?near=N&far=F"},
		{"cache:?near=memory:&far=memory:&x=y", `unknown parameter "x": want far, near, size_rule, write_through`},
		{"cache:?near=memory:&near=memory:&far=memory:", `parameter "near" is given twice`},
		{"cache:?near=memory:&far=memory:&write_through=maybe", `parameter "write_through": want true or false`},
		{"cache:?near=memory:&far=%zz", "invalid query"},
		{"cache:?near=memory:&far=path", ""},
		{"cache:?near=memory:&far=%26name", "far &name: stores have names only in composition files"},
		{"cache:?near=memory:&far=s3:x", `far "s3:x": unknown scheme "s3"`},

		{"priority:?services[0]=memory:&services[18446744073709551615]=/p", half},
		{"priority:?services%5B0%5D=memory:", half},
		{"priority:", "no services"},
		{"priority:?services[-1]=memory:", `invalid priority "-1"`},
		{"priority:?services[0]=memory:&services[0]=memory:", `parameter "services[0]" is given twice`},
		{"priority:?services[0]=memory:&services[00]=memory:", `priorities "0" and "00" are the same`},
		{"priority:?service=memory:", `unknown parameter "service": want services[N]`},

		{"bigtable://instance?project_id=p&table_name=t&family_name=f", half},
		{"bigtable://instance?project_id=p&table_name=t&family_name=f&channel_size=2&timeout=1.5&is_read_only=true&app_profile_id=x", half},
		{"bigtable://instance?project_id=p", "missing table_name and family_name"},
		{"bigtable://instance/path?project_id=p&table_name=t&family_name=f", "bigtable takes no path: want bigtable://INSTANCE?"},
		{"bigtable:instance?project_id=p&table_name=t&family_name=f", "want bigtable://INSTANCE?"},
		{"bigtable://?project_id=p&table_name=t&family_name=f", "want bigtable://INSTANCE?"},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&timeout=soon", `parameter "timeout": timeout "soon": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&timeout=-1", `timeout "-1": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&timeout=NaN", `timeout "NaN": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&channel_size=x", `parameter "channel_size": want a whole number from 1 on`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&channels=1", `unknown parameter "channels"`},

		{"combined:?local=memory:&remote=memory:", "combined has no URL"},
		{"http://foo.example/test", unknown},
		{"sled:///p", noRedb},
	}
}

// Parts that nothing would read are refused by name, in every kind of URL.
func TestUnreadParts(t *testing.T) {
	for _, k := range []urlForm{
		{"packed", "", "/p", "", "path"},
		{"packed+memory", "", "/", "", ""},
		{"packed+file", "", "/p", "single_writer=true", "path"},
		{"packed+s3", "bucket", "/p", "aws_region=r", "path"},
		{"packed+gs", "bucket", "/p", "", "path"},
		{"memory", "", "", "", ""},
		{"objectstore+memory", "", "/", "", ""},
		{"objectstore+file", "", "/p", "", "path"},
		{"objectstore+s3", "bucket", "/p", "aws_region=r", "path"},
		{"objectstore+gs", "bucket", "/p", "", "path"},
		{"objectstore+az", "bucket", "/p", "", "path"},
		{"objectstore+http", "host", "/p", "user_agent=x", "user port path"},
		{"objectstore+https", "host", "/p", "user_agent=x", "user port path"},
		{"grpc+http", "host", "", "package=tvix", "port"},
		{"grpc+https", "host", "", "package=snix", "port"},
		{"grpc+unix", "", "/p", "package=snix", "path"},
		{"cache", "", "", "near=memory:&far=memory:", ""},
		{"priority", "", "", "services[0]=memory:", ""},
		{"bigtable", "instance", "", "project_id=p&table_name=t&family_name=f", ""},
	} {
		t.Run(k.scheme, func(t *testing.T) { testUnreadParts(t, k) })
	}
}

// urlForm is a scheme with the parts of a valid URL.
type urlForm struct {
	scheme, host, path, query string // of a valid URL
	may                       string // user, port, path
}

func testUnreadParts(t *testing.T, k urlForm) {
	url := func(scheme, authority, path, query string) string {
		return scheme + "://" + authority + path + strings.TrimSuffix("?"+query, "?")
	}
	also := func(parameter string) string {
		return url(k.scheme, k.host, k.path, strings.TrimPrefix(k.query+"&"+parameter, "&"))
	}
	whole := url(k.scheme, k.host, k.path, k.query)
	if _, _, err := parseURL(whole, ""); err != nil {
		t.Errorf("%s: %v", whole, err)
	}
	first, _, _ := strings.Cut(k.query, "&")
	key, _, _ := strings.Cut(first, "=")
	hosts, host := "takes no host", url(k.scheme, "host", k.path, k.query)
	if k.host != "" {
		hosts, host = "needs a host", url(k.scheme, "", k.path, k.query)
	}
	cloud := strings.HasSuffix(k.scheme, "+gs") || strings.HasSuffix(k.scheme, "+az") // not every program knows their keys
	tests := []struct {
		part, url, want string
		may             bool // the URL is valid
	}{
		{"word", url(k.scheme+"+ftp", k.host, k.path, k.query), "unknown scheme", false},
		{"empty word", url(k.scheme+"+", k.host, k.path, k.query), "unknown scheme", false},
		{"host", host, hosts, false},
		{"user", url(k.scheme, "me@"+k.host, k.path, k.query), "takes no user", strings.Contains(k.may, "user")},
		{"password", url(k.scheme, "me:pw@"+k.host, k.path, k.query), "takes no user", strings.Contains(k.may, "user")},
		{"port", url(k.scheme, k.host+":80", k.path, k.query), "takes no port", strings.Contains(k.may, "port")},
		{"empty port", url(k.scheme, k.host+":", k.path, k.query), "port", false},
		{"port that is none", url(k.scheme, k.host+":99999", k.path, k.query), "port", false},
		{"path", url(k.scheme, k.host, "/more", k.query), "takes no path", strings.Contains(k.may, "path")},
		{"relative path", k.scheme + ":x" + strings.TrimPrefix(whole, k.scheme+"://"+k.host+k.path), "", k.scheme == "packed"},
		{"fragment", whole + "#f", "takes no fragment", false},
		{"empty fragment", whole + "#", "takes no fragment", false},
		{"unknown key", also("x=y"), "", cloud},
		{"empty key", also("=y"), "", cloud},
		{"key without a value", also("x="), "", false},
		{"key given twice", also("x=y&x=z"), "", false},
		{"known key given twice", also(first), "twice", k.query == ""},
		{"empty value", url(k.scheme, k.host, k.path, key+"="), "has no value", k.query == ""},
		{"bad query", also("%zz"), "", false},
	}
	for _, tt := range tests {
		_, _, err := parseURL(tt.url, "")
		switch {
		case tt.may && err != nil && k.query != "":
			t.Errorf("%s: %s: %v", tt.part, tt.url, err)
		case !tt.may && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %s: error %v, want %q", tt.part, tt.url, err, tt.want)
		}
	}
}

// A name that is refused makes nothing.
func TestRefusedNamesMakeNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, spec := range []string{
		"packed+ftp://host" + dir + "/x", "packed+ftp:x", "packed:x?y=z", "packed:x#y", "packed://x", "packed://x/y", "packed+file:x",
		"packed+file://host" + dir + "/x", "packed+file:" + dir + "/x?a=b", "packed+file:" + dir + "/x?single_writer=maybe",
		"ftp://host/x", "x+y:z", "memory:x", "memory+file:x", "cache+x:?near=x&far=x", "cache:x?near=near&far=far",
		"cache:?near=near&far=packed%2Bftp:x", "objectstore+packed:" + dir + "/x", "objectstore+file://host" + dir + "/x",
		"objectstore+file:" + dir + "/x?a=b", "objectstore+file:" + dir + "/x#f", "grpc+packed:x",
	} {
		st, err := Open(t.Context(), spec, Options{Create: true})
		if err == nil {
			st.Close()
			t.Errorf("%s: opened", spec)
		}
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Errorf("made %v, %v", entries, err)
	}
}

// Messages show nothing of a query, because it may hold secrets.
func TestNoSecrets(t *testing.T) {
	for _, spec := range []string{
		"s3:x?secret", "memory:?secret", "cache:?near=memory:?secret&far=memory:", "cache:?near=memory:&far=s3:x%3Fsecret",
		"grpc+http://h/p?secret", "grpc+http://secret@h", "objectstore+s3:?secret", "objectstore+s3://%zz?secret",
		"objectstore+http://user:secret/x@h/p", "objectstore+http://secret:secret@/p", "objectstore+ftp://u:secret@h/p",
	} {
		if _, err := parse(spec); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", spec, err)
		}
	}
}

// URLs that are accepted can be opened, as far as that needs no network.
func TestOpenURLs(t *testing.T) {
	dir := t.TempDir()
	for _, url := range []string{
		"memory://", "objectstore+memory:", "objectstore+memory:///", "objectstore+file:" + dir + "/a", "objectstore+file://" + dir + "/b",
		"grpc+http://[::1]:12345", "grpc+http://localhost", "grpc+https://localhost", "grpc+unix:/p", "grpc+unix:///p",
		"cache:?near=memory:&far=grpc%2Bunix:/p", "cache:?near=memory:&far=grpc+unix:/p",
	} {
		st, err := Open(t.Context(), url, Options{Create: true})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if st.Blobs == nil || st.Directories == nil || st.Barrier == nil || st.ID == "" {
			t.Errorf("%s: %+v", url, st)
		}
		if err := st.Close(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
