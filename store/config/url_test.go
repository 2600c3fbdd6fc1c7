package config

import (
	"strings"
	"testing"
)

// Every URL that tvix or snix accept, and that castar can open, it accepts. "" is no error.
func TestURLs(t *testing.T) {
	const (
		noRedb  = "for want of a library: serve it with the program that made it"
		unknown = "unknown scheme"
		half    = "it keeps no blobs, which a composition file can add"
	)
	tests := []struct{ url, want string }{
		{"packed:/p", ""},
		{"packed:", "no path"},
		{"/p", ""},
		{"", "no path"},

		{"memory:", ""},
		{"memory://", ""},
		{"memory://foo", "memory: takes nothing after the colon"},
		{"memory:/", "memory: takes nothing after the colon"},
		{"memory:/foo", "memory: takes nothing after the colon"},
		{"memory:?x", "memory: takes nothing after the colon"},

		{"grpc+http://[::1]:12345", ""},
		{"grpc+http://localhost", ""},
		{"grpc+https://localhost", ""},
		{"grpc+https://localhost?package=snix&token-path=/t", ""},
		{"grpc+http://localhost/some-path", "grpc+http takes a host and no path"},
		{"grpc+http:localhost", "grpc+http takes a host and no path"},
		{"grpc+http://user@localhost", "invalid URL"},
		{"grpc+unix:/p", ""},
		{"grpc+unix:///p", ""},
		{"grpc+unix://host/p", "grpc+unix takes an absolute path and no host"},
		{"grpc+unix:p", "grpc+unix takes an absolute path and no host"},
		{"grpc+ftp://host", `unknown scheme "grpc+ftp"`},
		{"grpc://host", `unknown scheme "grpc"`},

		{"objectstore+memory:///", ""},
		{"objectstore+memory:", ""},
		{"objectstore+memory://x", "objectstore+memory: takes nothing after the colon"},
		{"objectstore+file:///p", ""},
		{"objectstore+file:/p", ""},
		{"objectstore+file:p", "objectstore+file takes an absolute path"},
		{"objectstore+file://host/p", "objectstore+file takes an absolute path"},
		{"objectstore+file:/", "objectstore+file takes an absolute path"},
		{"objectstore+s3://bucket/path", ""},
		{"objectstore+s3://bucket/path?aws_region=x", ""},
		{"objectstore+s3:///path", "objectstore+s3 takes a bucket"},
		{"objectstore+gs://bucket/path", ""},
		{"objectstore+az://bucket/path", ""},
		{"objectstore+s3://user@bucket/path", "invalid URL"},
		{"objectstore+http://host/path", ""},
		{"objectstore+http://host", ""},
		{"objectstore+https://user:password@host:8080/path?user_agent=x", ""},
		{"objectstore+http:///path", "objectstore+http takes a host"},
		{"objectstore+https:path", "objectstore+https takes a host"},
		{"objectstore+http://host/path#x", "invalid URL"},
		{"objectstore+ftp://host/path", `unknown kind of object store "ftp"`},
		{"objectstore:/p", "want objectstore+file:/path"},
		{"file:///p", unknown},

		{"redb:", noRedb},
		{"redb://", noRedb},
		{"redb+memory:", noRedb},
		{"redb:/abs/path?read_only=true", noRedb},
		{"redb:///abs/path", noRedb},

		{"cache:?near=memory:&far=memory://", ""},
		{"cache://?near=memory%3A&far=/p&write_through=true", ""},
		{"cache:?near=memory:", "missing far"},
		{"cache:", "missing near and far"},
		{"cache:x?near=memory:&far=memory:", "cache: takes nothing but a query"},
		{"cache:?near=memory:&far=memory:&x=y", `unknown parameter "x": want far, near, write_through`},
		{"cache:?near=memory:&near=memory:&far=memory:", `parameter "near" is given twice`},
		{"cache:?near=memory:&far=memory:&write_through=maybe", `parameter "write_through": want true or false`},
		{"cache:?near=memory:&far=%zz", "invalid query"},
		{"cache:?near=memory:&far=path", ""},
		{"cache:?near=memory:&far=%26name", "far &name: only in composition files stores have names"},
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
		{"bigtable://instance?project_id=p", "missing table_name, family_name"},
		{"bigtable://instance/path?project_id=p&table_name=t&family_name=f", "want bigtable://INSTANCE?"},
		{"bigtable:instance?project_id=p&table_name=t&family_name=f", "want bigtable://INSTANCE?"},
		{"bigtable://?project_id=p&table_name=t&family_name=f", "want bigtable://INSTANCE?"},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&timeout=soon", `parameter "timeout": timeout "soon": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&timeout=-1", `timeout "-1": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&timeout=NaN", `timeout "NaN": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&channel_size=x", `parameter "channel_size": want a number`},
		{"bigtable://i?project_id=p&table_name=t&family_name=f&channels=1", `unknown parameter "channels"`},

		{"combined:?local=memory:&remote=memory:", "combined has no URL"},
		{"http://foo.example/test", unknown},
		{"sled:///p", unknown},
	}
	for _, tt := range tests {
		_, err := parse(tt.url)
		switch {
		case err == nil && tt.want != "":
			t.Errorf("%s: accepted, want %q", tt.url, tt.want)
		case err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want %q", tt.url, err, tt.want)
		}
	}
}

// Messages have nothing of a query, in which there may be secrets.
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

// What is accepted can be opened, as far as that needs no network.
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
