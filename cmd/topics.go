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
What changed, newest first. castar has no numbered releases yet; 'castar version' prints the commit that it was built
from. Stored formats and JSON fields only grow: every later version can read a store that any version listed here has
written.

Reading a long file from a mount is a quarter faster, and the mount takes less memory. The pages of 'castar serve
--http' keep long tags inside the window.

verify of a store in a bucket now reads everything from the bucket. Before, it read indexes and directories from the
local cache, and missed damage to them in the bucket. export and cat need at most half as many requests. 'castar ls -R
--json' needs two if the cache has everything else. export keeps what it will need again in an unnamed file of at most
256 MiB in the cache directory. Wrong credentials for gs and az now fail at once, not after a minute.

export, cat and copy now read a long file from a packed store on all processors. copy between two packed stores on disk
takes less time. On XFS, btrfs and other file systems where files can share blocks, export now shares blocks with the
store where the contents do not compress, instead of writing them; --reflink is auto, always or never. So that blocks
can be shared, a store there takes up to 0.2% more space for large files of that kind.

Where nothing matches, find with a pattern that has a slash now takes time in proportion to the number of directories,
not the number of paths.

Over a slow connection, export, verify and copy in both directions take about half as long. The error for a Bigtable
that cannot be reached names its server.

A packed store can now be in a bucket: packed+s3://bucket/path, and the same with gs and az. It needs about one request
for each 32 MiB; objectstore+s3 needs one for each chunk. An ingest ends three round trips after it has sent the last
pack. gc can run while others write.

If a bucket refuses requests because the clock of this machine is wrong, the error now says so. A write that az refuses
no longer crashes castar.

--limit-upload and --limit-download limit the traffic with remote stores. --verbose and --json report the requests and
the bytes.

A server now also serves the tags and the log of its store, so all commands work with it as with a store on disk. gc
runs at the server, and --gc-every makes the server run it by itself. --token-file can give each client its own rights
and its own tags.

Errors about a server name the server and the reason. After its disk was full, a server recovers by itself. The health
check of castar.put says whether clients may store; health checks now need the token, like every other call. Without
IPv6 a server listens on 127.0.0.1. It tells systemd when it is ready; 'castar help server' has units for systemd and a
Containerfile.

stats also shows the space of what has no tag: what only the log names, and what nothing names.

gc -v lists the roots that it drops, and gc -n -v those that it would drop. For that, a store has a new file, given-up,
which older versions ignore.

forget --keep-within no longer counts from a line whose time is in the future. --source also accepts a source that is
not a path, such as "-".

If a server fails during a command, that is not damage: verify, ls, find, diff, stat, stats, copy, tag and log now exit
with 1, not 3.

A flag without its value now says what value it wants, as in "--wait needs a value: want a duration such as 10m".

Completion now offers digests, aliases of commands, topics, tags after --tag and values after --flag=. In zsh and fish
it describes each word.

Tar and zip archives of a tag or a line of the log now have the recorded modes, owners and times, and tar archives have
the hard links. --metadata=none writes what earlier versions wrote.

After the update, the first ingest of a tree reads every file again, because the keys of the cache have changed. Later
ingests are faster, because the files of a directory are now next to each other in the cache.

A mount of a tag or a line of the log now shows the recorded modes and times, so private files stay private with
--allow-other. --metadata=none shows what earlier versions showed.

export, verify and copy from a server take less time: hardly anything is sent twice, and copy stores most of what
arrives without compressing it again. du now asks a server for directories only, and stats asks for many files at once.
A server cannot tell how much space only one tag needs: stats now prints "-", and leaves the field out of the JSON.
Before, it printed 0. A mount of a server reads ahead, so find and grep -r do not wait for each directory and file.

find --all searches everything that was ingested, and says which lines of the log have each version of a path.

With --json, every line has a type. A tag is now called tag everywhere, and a number of bytes is called bytes; the old
fields name and size stay beside them for one version. A directory has the number of entries below it in entries_below.
In config check, kind is the type of the store.

copy between packed stores on disk passes on compressed groups unchanged instead of compressing them again.

castar now keeps everything that was ingested until 'castar forget' removes its line from the log, by root, by tag or by
policy. gc keeps what tags and the log name. Wherever a ROOT is wanted, home~1, home@2026-11-01 and @12 name ingests. A
tag moves only with --force.

ingest now stores a listing of modes, owners, times, hard links and holes beside each root, and with --xattrs of
extended attributes and ACLs; --no-metadata leaves the listing out. export restores modes, times, hard links and holes,
and with --owner the owners. --metadata=none writes the uniform tree of earlier versions.

'castar mount' shows trees as read-only file systems, and 'castar serve --http' shows them in a browser. ingest reads
tar archives, NARs, and the output of a command (--stdin); export writes tar, nar and zip archives.

castar makes a store only in a directory that exists, and ingest says so. 'castar init' has --parents, --chunk-size and
--compression. castar refuses a path on another host, and the path of a disk that is not mounted.

ingest leaves out sockets, with a note. It takes several PATHs as one root with --as-tree and --files-from, and has
--iexclude, --exclude-larger-than and --exclude-if-present. export has --include and --exclude.

'castar du' shows how much space directories take. 'castar ls -l' shows 16 digits of a digest; --full shows all, -h
shows sizes for people, and --sort size puts the largest first.

verify -q prints nothing if all is well. -v no longer hides the progress bar. tag -d of a tag that does not exist exits
with 10, and so does config check without its file. An empty argument and a bad name of a store exit with 2.`

const comingFromText = `
The castar commands for what you know from other programs. A store needs no password: castar does not encrypt.

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
  borg delete REPO::NAME        castar tag -s STORE -d NAME, then castar forget -s STORE NAME
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
Every night, from cron. Give the full path of the store. Discard the output, so that cron sends mail only if there is a
problem:
  30 2 * * * castar ingest -q -s /mnt/backup/store --tag home "$HOME" >/dev/null

A backup disk that may not be mounted: make the store once with 'castar init -s /mnt/backup/store'. If the disk is not
mounted, ingest does not make another store in its place; it fails with status 10.

Check a part of the data each night, all of it in twenty days (cron does not take 5%, because it ends a command at %):
  30 4 * * * castar verify -q -s /mnt/backup/store --sample 1/20

Copy to a second place what is missing there:
  castar copy --from /mnt/backup/store --to packed+s3://bucket/path --tags

Keep seven days, four weeks and a year of months, and free the rest, once a week. In a crontab, the variable stands
above the lines that use it; -n instead of --gc shows what would go:
  CASTAR_STORE=/mnt/backup/store
  0 4 * * 0 castar forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --gc

Ingest keeps modes, times, owners and hard links beside each tree. Run both commands as root to keep owners, extended
attributes and ACLs:
  castar ingest --xattrs --tag home /home
  castar export --owner --xattrs home /mnt/new/home

Try a restore. A backup that has never been restored is not proven. Export it, and compare the copy with the store:
  castar export -s /mnt/backup/store home /tmp/drill
  castar diff -s /mnt/backup/store --exit-code home /tmp/drill
  rm -rf /tmp/drill

Look at everything that is stored, without exporting it, as a file system or in a browser:
  castar mount /mnt/castar
  castar serve --http 8080

When did a file change, and what was it before:
  castar find --all notes.txt
  castar cat home~3:notes.txt

Store the output of a program, or an archive, and write an archive to a pipe, without temporary files:
  castar ingest --tag db --stdin db.sql -- pg_dump db
  castar ingest --tag linux --format tar linux-6.1.tar.xz
  castar export --format tar linux - | ssh host tar x

Store only the files that git tracks, as one root:
  git ls-files -z | castar ingest --files-from - -z --tag src

See what takes space, and how much deleting a tag would free:
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
