package cmd

import (
	"cmp"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
)

const configHelp = `
Checks a composition file, and shows the stores that castar would build from it. It opens nothing and connects to
nothing. It prints a tree of stores, one a line, each with its type, name and location. A store that is used in several
places is built once, and marked as shared. Without a NAME, config shows the entry point, which is root or default; if
there is neither, it shows everything. If the file is wrong, every mistake has a line.

A STORE is one of
  /path, ./path                 a packed store
  FILE, FILE#NAME               a store of a composition file
  packed:/path                  a packed store
  packed+s3://bucket/path       a packed store in a bucket of S3; also packed+gs, packed+az, packed+file:/path, packed+memory:
  memory:                       a store that is gone when castar exits
  objectstore+file:/path        objects in the layout of tvix and snix, in a directory
  objectstore+s3://bucket/path  the same in S3; the usual variables of AWS apply, or ?aws_region=...,
                                aws_endpoint_url=... and so on; gs and az work in programs built for them
  objectstore+http://HOST/path  the same on an HTTP server: any server for reading, WebDAV for the rest; https works
                                too, and USER:PASSWORD@ before the host
  objectstore+memory:           the same, gone when castar exits
  grpc+http://HOST:PORT         the store of a server; also grpc+https and grpc+unix:/SOCKET; parameters:
                                package=tvix or snix (default: castar asks the server); token-path=FILE (sends the
                                token in FILE); wait-connect=1 (connects at once; default: 0); and with grpc+https
                                tls-ca-cert-path, tls-client-cert-path and tls-client-key-path=FILE
  cache:?near=N&far=F           N caches what is read from F; writes go to N, or with &write_through=true to both
  priority:?services[0]=A&services[1]=B  directories of A, or else of B; read-only
  bigtable://INSTANCE?project_id=P&table_name=T&family_name=F  directories only; also is_read_only=true, channel_size=N connections (default: 4), timeout=SECONDS of each try (default: 4), app_profile_id=NAME (default: default)
N, F, A and B are STOREs too, with %, & and # written as %25, %26 and %23. Anything else in a URL is refused: an unknown
word after +, a host that is not shown above, a parameter without a value.

A packed store in a bucket has the same files as one on disk, so any tool can copy it from disk to bucket and back. It
needs a bucket, and a key that may list it and get, put and delete objects (AWS calls that s3:ListBucket,
s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload), in
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. A bucket has no locks. A commit is a conditional write, which AWS, Google,
Azure, Cloudflare R2, MinIO, Ceph and versitygw support. Before castar makes a store, it checks that the service
supports them. If not, castar refuses, unless ?single_writer=true promises that only one process writes at a time.
$XDG_CACHE_HOME/castar/buckets keeps what was read, and is safe to delete.

A composition file is TOML. Each table names a store; blobs and directories may have tables of their own:

  [stores.disk]
  type = "packed"
  path = "cache"                # relative to the directory of the file

  [stores.server]
  url = "grpc+https://host"     # any of the above

  [blobservices.root]
  type = "cache"
  near = "&disk"                # or "disk", a URL, or a path
  far = "&server"

  [directoryservices.root]
  type = "cache"
  near = "&disk"
  far = "&server"

Tables of tvix and snix work unchanged. The types and their keys are
  packed       path; or object_store_url, object_store_options, single_writer for a bucket
  memory       none
  objectstore  object_store_url, object_store_options = {aws_region = "..."}, avg_chunk_size (bytes, default
               262144)
  grpc         url
  cache        near, far, write_through (true or false, default false)
  combined     local, remote, write_through; the same as cache, for blobs
  priority     services = {0 = "A", 1 = "B"}; for directories
  bigtable     project_id, instance_name, table_name, family_name, is_read_only, channel_size, timeout, app_profile_id;
               for directories
  redb, sled   none: castar cannot open them. Serve them with the program that made them, and name the server
Every type except priority, redb and sled also takes size_rule, and so do the URLs of packed+, objectstore, grpc, cache
and bigtable. size_rule is documented or snix. By this rule, directories count their size in trees that are ingested
into the store: see 'castar ingest --help'. A store that tvix or snix also use needs snix. Without size_rule, a packed
store follows its own rule, a cache follows that of far or remote, and any other store follows documented.

Examples:
  castar config check stores.toml
  castar export -s stores.toml ROOT DEST
  castar ingest -s stores.toml#backup PATH`

func (e *env) configCommand() *cli.Command {
	return &cli.Command{
		Name:        "config",
		Usage:       "check a composition file, and explain the names of stores",
		UsageText:   "castar config check [flags] FILE[#NAME]",
		Description: withJSON(configHelp, "there is an object for each store of the tree, and then for each that is in no tree", jsonInstance{}),
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			switch {
			case len(args) == 0 || args[0] != "check":
				return usagef("want 'check' and a FILE")
			case len(args) != 2:
				return usagef("want one FILE, got %d", len(args)-1)
			}
			file, name := config.SplitFile(args[1])
			err := e.checkConfig(file, name)
			switch {
			case errors.Is(err, store.ErrNoStore):
				return &failure{err: err, status: statusNotFound}
			case err != nil:
				return &failure{err: err, status: statusFailed}
			}
			return nil
		},
	}
}

// jsonInstance is a store of a composition file as JSON.
type jsonInstance struct {
	Entry string `json:"entry,omitempty" help:"the name for -s FILE#NAME"`
	config.Line
	Kind   string `json:"kind,omitempty" help:"of the store"`
	Unused bool   `json:"unused,omitempty"` // it is in no tree
}

// lineType leaves the field to those who read it as the kind of the store. A later version says store there.
func (j jsonInstance) lineType() string {
	if j.Type == "" {
		return "store"
	}
	return ""
}

func (e *env) checkConfig(file, name string) error {
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	entries, err := c.Entries(name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		lines, err := c.Explain(entry)
		if err != nil {
			return err
		}
		for _, l := range lines {
			e.printInstance(entry, l)
		}
	}
	if name != "" {
		return nil
	}
	unused, err := c.Unused(entries)
	for _, name := range unused {
		e.print(jsonInstance{Line: config.Line{Name: name}, Unused: true}, "unused: "+quote(name))
	}
	return err
}

func (e *env) printInstance(entry string, l config.Line) {
	use := l.Use
	if l.Depth == 0 {
		use = quote(entry)
	}
	words := []string{strings.Repeat("  ", l.Depth) + use + ":", cmp.Or(l.Type, "blobs and directories apart")}
	if l.Detail != "" {
		words = append(words, quote(l.Detail))
	}
	if l.Rule != "" {
		words = append(words, "size_rule="+l.Rule)
	}
	if l.Name != "" {
		words = append(words, "("+quote(l.Name)+")")
	}
	if l.Shared {
		words = append(words, "shared")
	}
	e.print(jsonInstance{Entry: entry, Line: l, Kind: l.Type}, strings.Join(words, " "))
}
