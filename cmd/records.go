package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"castar/store"
)

// records is a list of tags or log entries to print.
type records struct {
	env     *env
	command string
	tags    []store.Tag
	damaged uint64  // the number of those that cannot be read
	unread  []error // why; not more than maxWarnings
	remote  bool    // an error may mean that the server has no list
	failed  error   // of the server, which may have more
}

// maxWarnings is how many warnings of one kind are printed.
const maxWarnings = 20

func newRecords(e *env, command string, st *store.Store) *records {
	return &records{env: e, command: command, remote: st.RemoteTags != nil}
}

// add takes what the store yields: a tag, or the reason why it cannot be read.
func (r *records) add(t store.Tag, err error) {
	if store.IsServerError(err) {
		r.failed = err
		return
	}
	if err != nil {
		if r.damaged++; r.damaged <= maxWarnings {
			r.unread = append(r.unread, err)
		}
		return
	}
	r.tags = append(r.tags, t)
}

// jsonRecord is a tag or a log entry as JSON.
type jsonRecord struct {
	Tag  string `json:"tag,omitempty"`
	Name string `json:"name,omitempty" help:"the old name of tag"`
	jsonRoot
	Time time.Time `json:"time"`
	jsonSource
	store.Counts         // all 0 for a tag that was set by hand
	Number       int     `json:"number,omitempty" help:"of the line in the log: @1 is the newest"`
	Host         string  `json:"host,omitempty"`
	Comment      string  `json:"comment,omitempty"`
	Version      string  `json:"version,omitempty" help:"of castar"`
	Seconds      float64 `json:"seconds,omitempty"`
	Listing      string  `json:"listing,omitempty" help:"the digest of the blob with modes, owners and times"`
}

// lineType tells an ingest, which has a number, from a tag.
func (r jsonRecord) lineType() string {
	if r.Number > 0 {
		return "ingest"
	}
	return "tag"
}

// newJSONRecord returns the JSON form of a tag or, if number is not 0, of that line of the log.
func newJSONRecord(t store.Tag, number int) (jsonRecord, error) {
	root, err := newJSONRoot(t.Root)
	j := jsonRecord{t.Name, t.Name, root, t.Time, newJSONSource(t.Source), t.Counts, number, t.Host, t.Comment, t.Version, t.Seconds, ""}
	if t.Listing != (store.Digest{}) {
		j.Listing = t.Listing.String()
	}
	return j, err
}

// print writes the list. It returns errPartial if something could not be read, and the reason if a server gave no list.
func (r *records) print() error {
	if r.remote && r.damaged == 1 && len(r.tags) == 0 && !store.IsCorrupt(r.unread[0]) && !errors.Is(r.unread[0], store.ErrNewer) {
		return r.unread[0]
	}
	for _, err := range r.unread {
		r.env.warn(r.command, err.Error())
	}
	if r.damaged > maxWarnings {
		r.env.warn(r.command, fmt.Sprintf("and %d more; 'castar verify' lists them", r.damaged-maxWarnings))
	}
	return partly(cmp.Or(r.printTable(), r.failed), r.damaged > 0)
}

// shortDigits is how much of a digest a table shows: enough to identify it, and short enough to leave room.
const shortDigits = 16

func (r *records) printTable() error {
	w := newTable(r.env.stdout)
	comments := slices.ContainsFunc(r.tags, func(t store.Tag) bool { return t.Comment != "" })
	for i, t := range r.tags {
		j, err := newJSONRecord(t, 0)
		if r.command == "log" {
			j, err = newJSONRecord(t, i+1)
		}
		if err != nil {
			return err
		}
		if r.env.json {
			r.env.stdout.json(j)
			continue
		}
		name, source := orDash(t.Name), orDash(t.Source)
		when, digest := t.Time.Local().Format(time.DateTime), j.Root[:shortDigits]
		var cells []string
		if r.command == "tag" {
			cells = []string{name, digest, when, source}
		} else {
			cells = []string{fmt.Sprint("@", i+1), when, digest, fmt.Sprint(t.Counts.Files), humanBytes(t.Counts.Bytes), name, source}
		}
		if comments {
			cells = append(cells, orDash(t.Comment))
		}
		if i == 0 {
			fmt.Fprintln(w, r.header(comments))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

func (r *records) header(comments bool) string {
	text := "@\tTIME\tROOT\tFILES\tSIZE\tTAG\tSOURCE"
	if r.command == "tag" {
		text = "NAME\tROOT\tTIME\tSOURCE"
	}
	if comments {
		text += "\tCOMMENT"
	}
	return text
}

// orDash returns text for people to read, or a dash if it is empty.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return quote(text)
}
