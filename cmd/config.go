package cmd

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/store/config"
)

const configHelp = `
Checks a composition file, and shows what castar would build from it as a STORE, without opening or connecting to
anything: a tree of the stores and what they are made of, one a line, with their types, names and places. A store in
several places is built once, and marked as shared. Without a NAME it shows the entry point, which is root or default,
or everything where there is neither. What is wrong with the file is told in full, a line for each mistake.

A STORE is one of
  /path, ./path                 a packed store
  FILE, FILE#NAME               what a composition file says
  packed:/path                  a packed store
  memory:                       nothing that lasts
  objectstore+file:/path        objects in the layout of tvix and snix, in a folder
  objectstore+s3://bucket/path  the same in S3, with AWS's usual variables, or ?aws_region=... and so on; also gs and az
                                in programs built for them
  objectstore+http://HOST/path  the same on an HTTP server, of files to be read and of WebDAV for all else; also https,
                                and USER:PASSWORD@ before the host
  objectstore+memory:           the same, and nothing that lasts
  grpc+http://HOST:PORT         the store of a server; also grpc+https and grpc+unix:/SOCKET; parameters are package,
                                token-path, wait-connect, tls-ca-cert-path, tls-client-cert-path, tls-client-key-path
  cache:?near=N&far=F           N before F, and N keeps what was read; with &write_through=true both take what is put
  priority:?services[0]=A&services[1]=B
                                the directories of A, otherwise those of B; read-only
  bigtable://INSTANCE?project_id=P&table_name=T&family_name=F
                                directories alone; also is_read_only, channel_size, timeout in seconds, app_profile_id
where N, F, A and B are STOREs too, with their own %, & and # written %25, %26 and %23. Whatever else is in a URL is
refused, such as a word after + that is not above, a host where there is none above, or a parameter without a value.

A composition file is TOML. Each table names a store, as one or blobs and directories apart:

  [stores.disk]
  type = "packed"
  path = "cache"                # relative to the folder of the file

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

Tables of tvix and snix can be used as they are. Types and their keys:
  packed     path
  memory
  objectstore
             object_store_url, object_store_options = {aws_region = "..."}, avg_chunk_size
  grpc       url
  cache      near, far, write_through
  combined   local, remote, write_through; the same, for blobs
  priority   services = {0 = "A", 1 = "B"}; for directories
  bigtable   project_id, instance_name, table_name, family_name, is_read_only, channel_size, timeout, app_profile_id;
             for directories
  redb, sled
             for directories, of which none can be had: serve them with the program that made them, and name the server
All but priority, redb and sled also have size_rule, as has the query of the URLs objectstore, grpc, cache and
bigtable. It is documented or snix, and says by which rule directories count their size in trees that are ingested
into the store; see 'castar ingest --help'. A store that tvix or snix use, too, wants snix. Without it a packed store
has its own rule, a cache that of far or remote, and any other store the documented one.

With --json, one object for each store: entry, depth (0 for the entry itself), use (what it is for, such as near),
name, type, detail (such as a path), size_rule, shared; and one with name and unused for each that is in no tree.

Examples:
  castar config check stores.toml
  castar export -s stores.toml ROOT DEST
  castar ingest -s stores.toml#backup PATH`

func (e *env) configCommand() *cli.Command {
	return &cli.Command{
		Name:        "config",
		Usage:       "check a composition file, and show what it would build",
		UsageText:   "castar config check FILE[#NAME]",
		Description: configHelp,
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			switch {
			case len(args) == 0 || args[0] != "check":
				return usagef("config", "want check and a FILE")
			case len(args) != 2:
				return usagef("config", "want one FILE, got %d", len(args)-1)
			}
			file, name := config.SplitFile(args[1])
			if err := e.checkConfig(file, name); err != nil {
				return &failure{err: err, status: statusFailed}
			}
			return nil
		},
	}
}

// jsonInstance is a store of a composition file as JSON.
type jsonInstance struct {
	Entry  string `json:"entry,omitempty"`  // the name that Open takes
	Depth  int    `json:"depth"`            // 0 for the entry, more for what it is made of
	Use    string `json:"use,omitempty"`    // blobs, directories, near, far and so on; none for the entry
	Name   string `json:"name,omitempty"`   // with its table; none where a URL stands for it
	Type   string `json:"type,omitempty"`   // none for an entry of which blobs and directories stand apart
	Detail string `json:"detail,omitempty"` // a path, or what else tells it from others
	Shared bool   `json:"shared,omitempty"` // it is in more than one place, and is built once
	Unused bool   `json:"unused,omitempty"` // it is in no tree

	SizeRule string `json:"size_rule,omitempty"` // documented or snix, where a parameter says so
}

// checkConfig prints what a composition file would build.
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
		if e.json {
			e.stdout.json(jsonInstance{Name: name, Unused: true})
		} else {
			fmt.Fprintln(e.stdout, "unused: "+quote(name))
		}
	}
	return err
}

// printInstance prints one line of a tree.
func (e *env) printInstance(entry string, l config.Line) {
	if e.json {
		e.stdout.json(jsonInstance{Entry: entry, Depth: l.Depth, Use: l.Use, Name: l.Name, Type: l.Type, Detail: l.Detail, SizeRule: l.Rule, Shared: l.Shared})
		return
	}
	use := l.Use
	if l.Depth == 0 {
		use = quote(entry)
	}
	fmt.Fprint(e.stdout, strings.Repeat("  ", l.Depth)+use+":")
	if l.Type != "" {
		fmt.Fprintf(e.stdout, " %s", l.Type)
	} else {
		fmt.Fprint(e.stdout, " blobs and directories apart")
	}
	if l.Detail != "" {
		fmt.Fprintf(e.stdout, " %s", quote(l.Detail))
	}
	if l.Rule != "" {
		fmt.Fprint(e.stdout, " size_rule="+l.Rule)
	}
	if l.Name != "" {
		fmt.Fprintf(e.stdout, " (%s)", quote(l.Name))
	}
	if l.Shared {
		fmt.Fprint(e.stdout, " shared")
	}
	fmt.Fprintln(e.stdout)
}
