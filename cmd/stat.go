package cmd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/urfave/cli/v2"

	"castar/export"
	"castar/store"
	"castar/store/tree"
)

const statHelp = `
Prints the kind, size and digest of the root, or of what is at path inside it. For a directory, it also prints the
number of entries and the size rule (see 'castar ingest --help'; stat looks at one directory in it). For a file, it
prints the number of chunks. It lists the tags that lead to it, even from deep inside another tree. If the root is a tag
or a line of the log, and the store keeps a listing of it (see 'castar export --help'), stat also prints its mode,
owner, modification time, and links and attributes if it has some.

With --nar, stat also prints the size of the NAR (the archive format of Nix) and its SHA-256 hash, as SRI, in the base
32 of Nix and in hexadecimal. To do so, it reads and checks everything below.

If a directory in a tagged tree cannot be read, stat cannot tell whether that tag leads here. It says so on stderr and
exits with status 3.

Examples:
  castar stat src:cmd/main.go
  castar stat --no-tags 4fc3b6c1                    # look at nothing else
  castar stat --nar src                             # the hash that Nix wants`

func (e *env) statCommand() *cli.Command {
	var noTags, nar bool
	return &cli.Command{
		Name:        "stat",
		Usage:       "say what is known about a root, or something inside it",
		UsageText:   "castar stat [flags] ROOT[:path]",
		Description: withJSON(statHelp, "there is one object", jsonStat{}),
		Flags: []cli.Flag{
			boolFlag("no-tags", "", &noTags, "do not look for tags, which would read all tagged trees"),
			boolFlag("nar", "", &nar, "also hash it as an archive of Nix; that reads all of it"),
		},
		Action: func(c *cli.Context) error {
			return e.withOneRef(c, func(st *store.Store, r tree.Ref) error {
				wantTags := false
				if !noTags {
					var err error
					if wantTags, err = st.HasTags(c.Context); err != nil {
						return err
					}
				}
				return e.stat(c.Context, st, r, wantTags, nar)
			})
		},
	}
}

// jsonStat is what castar stat --json prints.
type jsonStat struct {
	jsonPath
	Root          string `json:"root" help:"its digest"`
	tree.JSONNode        // of a symlink, digest is that of its Node message, as castar ingest prints it

	jsonFacts

	DigestSnix  string   `json:"digest_snix" help:"blake3-<base64>"`
	Entries     *int     `json:"entries,omitempty" help:"in the directory itself, and by kind"`
	Directories *int     `json:"directories,omitempty"`
	Files       *int     `json:"files,omitempty"`
	Symlinks    *int     `json:"symlinks,omitempty"`
	SizeRule    string   `json:"size_rule,omitempty"` // documented or snix; none if the tree does not tell
	Chunks      *int     `json:"chunks,omitempty"`    // of a file; 1 if it is stored whole
	Tags        []string `json:"tags,omitempty"`      // that lead to it; none with --no-tags

	Entry          snixEntry `json:"entry" help:"as snix prints roots: type, digest, size, executable, target"`
	EntryBase64URL string    `json:"entry_base64url" help:"the same as a protobuf message, as in the URLs of snix's binary cache after nar/snix-castore/"`

	NAR *jsonNAR `json:"nar,omitempty" help:"with --nar: bytes (size is its old name), sha256, nix32, sri"`
}

func (jsonStat) lineType() string { return "entry" }

// snixEntry is a root as snix prints it. Like snix, it loses the bytes of a target that are not UTF-8; the message has them.
type snixEntry struct {
	Type       string  `json:"type"` // directory, file or symlink
	Digest     string  `json:"digest,omitempty"`
	Size       *uint64 `json:"size,omitempty"`
	Executable *bool   `json:"executable,omitempty"`
	Target     string  `json:"target,omitempty"`
}

func newSnixEntry(n store.Node) snixEntry {
	e := snixEntry{Type: n.Kind.String()}
	if n.Kind == store.KindSymlink {
		e.Target, _ = store.JSONName(n.Target)
		return e
	}
	e.Digest, e.Size = n.Digest.Snix(), &n.Size
	if n.Kind == store.KindFile {
		e.Executable = &n.Executable
	}
	return e
}

func (e *env) stat(ctx context.Context, st *store.Store, r tree.Ref, wantTags, wantNAR bool) error {
	n := r.Node
	n.Name = ""
	digest, err := n.RootDigest()
	if err != nil {
		return err
	}
	message, err := store.EncodeNode(n)
	if err != nil {
		return err
	}
	j := jsonStat{jsonPath: newJSONPath(r.Path), Root: r.RootDigest.String(), JSONNode: tree.NewJSONNode(n), DigestSnix: digest.Snix(),
		Entry: newSnixEntry(n), EntryBase64URL: base64.RawURLEncoding.EncodeToString(message)}
	j.Digest = digest.String()
	left := complaints{e: e}
	kept, err := openFacts(ctx, st, r, left.listing)
	if err != nil {
		left.listing(err) // the rest is known without it
	}
	defer kept.Close()
	if said, ok := kept.Find("", &n); ok {
		j.jsonFacts = newJSONFacts(&said)
	}
	err = nil
	switch n.Kind {
	case store.KindDirectory:
		err = j.addDirectory(ctx, st, n)
	case store.KindFile:
		err = j.addFile(ctx, st, n)
	}
	if err != nil {
		return err
	}
	if wantNAR {
		if j.NAR, err = e.narOf(ctx, st, n); err != nil {
			return err
		}
	}
	damaged := false
	if wantTags {
		if j.Tags, damaged, err = e.tagsTo(ctx, st, n); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e.json:
		e.stdout.json(j)
	default:
		e.printStat(&j, r, wantTags)
	}
	return partly(left.end(), damaged)
}

func (j *jsonStat) addDirectory(ctx context.Context, st *store.Store, n store.Node) error {
	dir, err := st.Directories.Get(ctx, n.Digest)
	if err != nil {
		return store.About("directory", n.Digest, err)
	}
	var counts [store.KindSymlink + 1]int
	for i := range dir {
		counts[dir[i].Kind]++
	}
	entries := len(dir)
	j.Entries, j.Directories, j.Files, j.Symlinks = &entries, &counts[store.KindDirectory], &counts[store.KindFile], &counts[store.KindSymlink]
	rule, known, err := tree.SizeRule(ctx, st.Directories, n)
	if known {
		j.SizeRule = rule.String()
	}
	return err
}

func (j *jsonStat) addFile(ctx context.Context, st *store.Store, n store.Node) error {
	chunks, err := st.Blobs.Chunks(ctx, n.Digest)
	number := max(1, len(chunks))
	j.Chunks = &number
	if err != nil {
		return store.About("blob", n.Digest, err)
	}
	return nil
}

// tagsTo returns the tags of the trees that contain n. It names on stderr those that it cannot check. The error is of the
// server.
func (e *env) tagsTo(ctx context.Context, st *store.Store, n store.Node) (names []string, damaged bool, err error) {
	finder := tree.NewFinder(st, n)
	tags, damaged, err := e.tagsOf(ctx, st)
	for _, t := range tags {
		switch found, err := finder.In(ctx, t.Root); {
		case ctx.Err() != nil:
			return names, true, nil
		case store.IsServerError(err):
			return names, true, fmt.Errorf("tag %s: %w", t.Name, err)
		case err != nil:
			damaged = true
			e.warn("tag " + t.Name + ": " + err.Error())
		case found:
			names = append(names, t.Name)
		}
	}
	return names, damaged, err
}

func (e *env) printStat(j *jsonStat, r tree.Ref, wantTags bool) {
	w := newTable(e.stdout)
	defer w.Flush()
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	if r.Path != "" {
		row("path", "%s", quote(r.Path))
		row("root", "%s", j.Root)
	}
	kind := j.Kind
	if j.Executable {
		kind = "executable file"
	}
	row("kind", "%s", kind)
	row("digest", "%s", j.Digest)
	row("", "%s", j.DigestSnix)
	switch r.Node.Kind {
	case store.KindDirectory:
		row("entries", "%d: %s, %s, %s", *j.Entries, plural(uint64(*j.Directories), "directory"), plural(uint64(*j.Files), "file"),
			plural(uint64(*j.Symlinks), "symbolic link"))
		rule := ""
		if j.SizeRule != "" {
			rule = ", by the rule " + j.SizeRule
		}
		row("size", "%d%s", j.Size, rule)
	case store.KindFile:
		if j.Size < 1024 {
			row("size", "%d", j.Size)
		} else {
			row("size", "%d (%s)", j.Size, store.HumanBytes(j.Size))
		}
		row("chunks", "%d", *j.Chunks)
	case store.KindSymlink:
		row("target", "%s", quote(r.Node.Target))
	}
	if j.NAR != nil {
		row("nar size", "%d", j.NAR.Size)
		row("nar hash", "%s", j.NAR.SRI)
		row("", "sha256:%s", j.NAR.Nix32)
		row("", "%s", j.NAR.SHA256)
	}
	if j.Mode != "" {
		row("mode", "%s", j.Mode)
		row("owner", "%d:%d (%s:%s)", *j.UID, *j.GID, quote(cmp.Or(j.User, "-")), quote(cmp.Or(j.Group, "-")))
		row("modified", "%s", j.Modified)
	}
	if j.Links > 1 {
		row("links", "%d", j.Links)
	}
	if len(j.Xattrs) > 0 {
		row("attributes", "%s", quoteAll(j.Xattrs, " "))
	}
	switch {
	case len(j.Tags) > 0:
		row("tags", "%s", quoteAll(j.Tags, " "))
	case wantTags:
		row("tags", "none")
	}
}

// jsonNAR is how Nix knows a root: by its NAR.
type jsonNAR struct {
	Bytes  uint64 `json:"bytes"`
	Size   uint64 `json:"size"`   // the old name of bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
	Nix32  string `json:"nix32"`  // the same in Nix's base 32
	SRI    string `json:"sri"`    // the same as sha256-<base64>
}

// narOf returns the size and hash of the NAR of n, and shows how far it is.
func (e *env) narOf(ctx context.Context, st *store.Store, n store.Node) (*jsonNAR, error) {
	p := &export.Progress{}
	defer e.showExport(ctx, p, st, n)()
	sum, size, err := export.NARHash(ctx, st, n, export.ArchiveOptions{Options: export.Options{Progress: p}})
	return &jsonNAR{size, size, hex.EncodeToString(sum[:]), nix32(sum), "sha256-" + base64.StdEncoding.EncodeToString(sum[:])}, err
}

// nix32 returns a hash in Nix's base 32: digits of five bits, from the last bits of the hash to the first.
func nix32(sum [sha256.Size]byte) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	const length = (8*sha256.Size + 4) / 5
	text := make([]byte, length)
	for i := range length {
		bit := 5 * (length - 1 - i)
		word := uint(sum[bit/8])
		if bit/8+1 < len(sum) {
			word |= uint(sum[bit/8+1]) << 8
		}
		text[i] = digits[word>>(bit%8)&31]
	}
	return string(text)
}
