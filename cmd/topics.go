package cmd

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// topics returns the texts of 'castar help TOPIC', by name.
func topics() map[string]string {
	return map[string]string{"changes": changesText, "coming-from": comingFromText, "recipes": recipesText, "server": serverText}
}

const changesText = `
What changed, newest first. Stored formats and JSON fields only grow: a store of any version here can be read by all
later ones.

A long file is read from a mount a quarter faster, and the mount takes less memory. The pages of castar serve --http keep
long tags inside the window.

A verify of a store in a bucket reads all of it there. It took indexes and directories from the cache on this machine, and
did not see damage to them in the bucket. Export and cat take half as many requests or fewer, and castar ls -R --json two if
the cache has what it needs. What an export has fetched and will need again is in a file without a name in the folder of the
cache, of at most 256 MiB. Wrong credentials of gs and az are an error at once, and not after a minute.

A long file comes out of a packed store on all processors, in export, cat and copy. A copy between two packed stores on
disks takes less time.
On XFS, btrfs and other file systems whose files can share blocks, export shares what does not compress with the store
instead of writing it: --reflink=auto, always or never. A store there takes up to 0.2% more room for large files of that
kind, so that their blocks can be shared.

find with a pattern that has a slash takes the time of the directories of a tree, and not that of its paths, where nothing
matches.

Over a long line, export, verify and both directions of copy take about half as long. A bigtable that cannot be reached is
named with its server.

A packed store may be in a bucket: packed+s3://bucket/path, and the same with gs and az. It takes one request for each 32
MiB or so, where objectstore+s3 takes one for each chunk. An ingest waits for three round trips after the last pack is sent.
gc runs beside writers there.

If a bucket refuses requests because the clock of this machine is wrong, the error says so. A write that az refuses does
not crash castar any more.

--limit-upload and --limit-download bound what goes to and from stores in a network, and --verbose and --json say how many
requests and bytes it was.

A server offers the tags and the log of its store, too: all commands work with it as with a folder. gc runs at the server,
and --gc-every runs it there by itself. --token-file may give each client its rights and the tags that are its own.

Errors about a server name the server and the reason. A server recovers by itself after its disk was full; health checks of
castar.put say whether clients may store, and need the token as all calls do. Without IPv6 it listens on 127.0.0.1. It
tells systemd when it is ready; 'castar help server' has units for systemd and a Containerfile.

castar stats also says what takes room without a tag: what only the log names, and what nothing names.

gc -v names the roots that it drops, gc -n -v those that it would drop. A store has a new file for that, given-up, which
older versions pass over.

forget --keep-within no longer begins at a line from the future, and --source also takes what was no path, such as -.

A server that fails in the middle is no damage: verify, ls, find, diff, stat, stats, copy, tag and log exit with 1, and not
with 3.

A flag without its value says what it wants, as in "--wait needs a value: want a duration such as 10m".

Completion knows digests, other names of commands, topics, tags behind --tag and values behind --flag=, and says in zsh and
fish what each word is.

Tar and zip archives of a tag or a line of the log have the modes, owners and times that were there, and tar archives
have the hard links; --metadata=none gives what earlier versions wrote.

The first ingest of a tree after an update reads every file again, because the cache has other keys: a later ingest finds
the files of a directory beside each other, and takes less time.

A mount of a tag or a line of the log shows the modes and times that ingest listed, so with --allow-other private files
stay private; --metadata=none gives what earlier versions showed.

Export, verify and copy from a server take less time: hardly anything is sent twice, and most of a copy is stored as it
comes. castar du asks a server for directories only, and castar stats asks about many files at once. A server cannot
tell what a tag takes alone: castar stats prints "-", and nothing in JSON. It was 0.
A mount of a server reads ahead, so find and grep -r do not wait for each directory and file.

castar find --all looks through all that was ingested, and says in which lines of the log each version of a path is.

With --json, every line has a type. A tag is tag everywhere, and a number of bytes is bytes: name and size stay beside
them for one version. Directories say how much is below them in entries_below. In config check, kind is the type of the
store.

Copy between stores in folders passes on what they compress together as it is, and does not compress it again.

What was ingested is kept until 'castar forget' removes its line from the log, by root, tag or policy; gc keeps what tags
and log name. home~1, home@2026-11-01 and @12 name ingests, wherever a ROOT is wanted. A tag moves only with --force.

Ingest keeps a listing of modes, owners, times, hard links and holes beside each root, with --xattrs of attributes and
ACLs, too; --no-metadata leaves it out. Export gives modes, times and links back, with --owner owners, and with --sparse
holes; --metadata=none gives the uniform tree of earlier versions.

'castar mount' shows trees as read-only file systems, and 'castar serve --http' in a browser. Ingest reads tar archives,
NARs, and what a command writes (--stdin); export writes tar, nar and zip archives.

A store is made only in a folder that exists, and ingest says so. 'castar init' takes --parents, --chunk-size and
--compression. A path on another host is refused, and so is the place of a disk that is not mounted.

Ingest leaves out sockets with a note. It takes several PATHs as one root with --as-tree and --files-from, and
--iexclude, --exclude-larger-than and --exclude-if-present. Export takes --include and --exclude.

'castar du' says what directories take. 'castar ls -l' shows 16 digits of a digest; --full shows all, -h shows sizes for
people, and --sort size puts the largest first.

verify -q prints nothing if all is well. -v keeps the progress bar. tag -d of a tag that does not exist exits with 10,
and so does config check without its file. An empty argument and a bad name of a store exit with 2.`

const comingFromText = `
What commands of other programs are called here. A store needs no password: castar does not encrypt.

restic:
  restic init                   castar init; or nothing, ingest makes a store
  restic backup ~               castar ingest --tag home ~
  restic backup --stdin         castar ingest --stdin NAME
  restic snapshots              castar log, castar tag
  restic ls latest, dump        castar ls home, castar cat home:path
  restic find PATTERN           castar find --all PATTERN
  restic diff A B               castar diff home~1 home
  restic restore ID --target D  castar export ROOT D; as root also --owner --xattrs
  restic mount DIR              castar mount DIR
  restic forget --keep-daily 7  castar forget --keep-daily 7
  restic forget --prune         castar forget --gc
  restic check --read-data      castar verify
  restic prune                  castar gc
  restic stats                  castar stats, castar du ROOT
  restic copy                   castar copy --from A --to B
  rest-server                   castar serve

borg:
  borg create REPO::NAME ~      castar ingest -s STORE --tag NAME ~
  borg list REPO                castar log -s STORE
  borg extract REPO::NAME       castar export -s STORE NAME DEST
  borg mount REPO::NAME DIR     castar mount -s STORE NAME DIR
  borg delete REPO::NAME        castar forget -s STORE NAME
  borg prune --keep-daily 7     castar forget -s STORE --keep-daily 7
  borg check --verify-data      castar verify
  borg compact                  castar gc
  borg import-tar, export-tar   castar ingest --format tar, castar export --format tar
  borg info                     castar stats

git:
  git add . && git commit       castar ingest --gitignore --tag NAME .
  git log                       castar log
  git tag NAME COMMIT           castar tag NAME ROOT
  git show main~1, main@{date}  castar ls main~1, castar ls main@2026-11-01
  git diff A B                  castar diff -p A B
  git ls-tree -r A              castar ls -R A
  git show A:path               castar cat A:path
  git checkout                  castar export --overwrite ROOT DEST
  git fsck, git gc              castar verify, castar gc`

const recipesText = `
Every night, from cron. Name the store in full, and let only problems make a mail:
  30 2 * * * castar ingest -q -s /mnt/backup/store --tag home "$HOME" >/dev/null

A backup disk that may not be mounted: make the store once with 'castar init -s /mnt/backup/store'. Ingest makes no other
one in its place if the disk is not there: it fails with status 10.

Check a part of the data each night, all of it in twenty days:
  30 4 * * * castar verify -q -s /mnt/backup/store --sample 5%

A second copy elsewhere, of what is missing there:
  castar copy --from /mnt/backup/store --to packed+s3://bucket/path --tags

Keep seven days, four weeks and a year of months, and free the rest, once a week; -n instead of --gc shows what would go:
  0 4 * * 0 castar forget -s /mnt/backup/store --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --gc

Modes, times, owners and hard links are kept beside each tree. As root, with attributes and ACLs, there and back:
  castar ingest --xattrs --tag home /home
  castar export --owner --xattrs home /mnt/new/home

A restore drill: a backup is good when it has been restored. Export, and compare with what is there:
  castar export -s /mnt/backup/store home /tmp/drill
  castar diff -s /mnt/backup/store home ~
  rm -rf /tmp/drill

Look around in all that was stored, without unpacking, in a folder or in a browser:
  castar mount /mnt/castar
  castar serve --http 8080

When did a file change, and what was it before:
  castar find --all notes.txt
  castar cat home~3:notes.txt

What a program writes, and archives, go in and come out without a file between:
  castar ingest --tag db --stdin db.sql -- pg_dump db
  castar ingest --tag linux --format tar linux-6.1.tar.xz
  castar export --format tar linux - | ssh host tar x

Only what git knows, as one root:
  git ls-files -z | castar ingest --files-from - -z --tag src

What takes the room, and how much deleting a tag would free:
  castar du home --depth 2
  castar stats`

// printMan writes a man page, in the language of man(7): of the whole program, or of one command. It has the words of the
// help.
func printMan(w io.Writer, app *cli.App, c *cli.Command) {
	var b strings.Builder
	name, usage, synopsis, text, categories := "castar", app.Usage, "castar COMMAND [flags] [arguments]", generalHelp,
		app.VisibleFlagCategories()
	if c != nil {
		name, usage, synopsis, text, categories = "castar-"+c.Name, c.Usage, c.UsageText, c.Description, c.VisibleFlagCategories()
	}
	fmt.Fprintf(&b, ".TH %s 1 \"\" castar \"User Commands\"\n.nh\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n",
		manText(strings.ToUpper(name)), manText(name), manText(usage), manText(synopsis))
	manParagraphs(&b, text)
	if c == nil {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range app.VisibleCommands() {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", manText(strings.Join(c.Names(), ", ")), manText(c.Usage))
		}
	}
	for _, category := range categories {
		fmt.Fprintf(&b, ".SH %s\n", manText(strings.ToUpper(cmp.Or(category.Name(), "Flags"))))
		for spelled, text := range describeFlags(category) {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", manText(strings.TrimSpace(spelled)), manText(text))
		}
	}
	if c == nil {
		b.WriteString(".SH NOTES\n")
		manParagraphs(&b, generalEnd)
	}
	io.WriteString(w, b.String())
}

// manParagraphs writes a help text: paragraphs are filled, and indented lines stay as they are.
func manParagraphs(b *strings.Builder, text string) {
	asIs := false
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		indented := strings.HasPrefix(line, " ")
		if indented != asIs && line != "" {
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[indented])
			asIs = indented
		}
		if line == "" {
			line = ".PP"
		} else {
			line = manText(line)
		}
		b.WriteString(line + "\n")
	}
	if asIs {
		b.WriteString(".fi\n")
	}
}

// manText escapes what has a meaning in man pages.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
