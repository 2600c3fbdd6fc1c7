package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"castar/store"
)

// maxWarnings is how many warnings of one kind are printed.
const maxWarnings = 20

// jsonRecord is a tag or a log entry as JSON.
type jsonRecord struct {
	Tag  string `json:"tag,omitempty"`
	Name string `json:"name,omitempty" help:"the old name of tag"`
	jsonRoot
	Time         time.Time `json:"time"`
	Source       string    `json:"source,omitempty"`
	SourceBase64 string    `json:"source_base64,omitempty"`
	store.Counts           // all 0 for a tag that was set by hand
	Number       int       `json:"number,omitempty" help:"of the line in the log: @1 is the newest"`
	Host         string    `json:"host,omitempty"`
	Comment      string    `json:"comment,omitempty"`
	Version      string    `json:"version,omitempty" help:"of castar"`
	Seconds      float64   `json:"seconds,omitempty"`
	Listing      string    `json:"listing,omitempty" help:"the digest of the blob with modes, owners and times"`
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
	j := jsonRecord{Tag: t.Name, Name: t.Name, jsonRoot: root, Time: t.Time, Counts: t.Counts, Number: number,
		Host: t.Host, Comment: t.Comment, Version: t.Version, Seconds: t.Seconds}
	j.Source, j.SourceBase64 = store.JSONName(t.Source)
	if t.Listing != (store.Digest{}) {
		j.Listing = t.Listing.String()
	}
	return j, err
}

// printRecords prints the tags or the log of a store. unread is why some could not be read: it names them, and returns
// errPartial, or the error of the server, which may have more.
func (e *env) printRecords(st *store.Store, tags []store.Tag, unread []error) error {
	if st.RemoteTags != nil && len(unread) == 1 && len(tags) == 0 && !store.IsCorrupt(unread[0]) && !errors.Is(unread[0], store.ErrNewer) {
		return unread[0] // it may mean that the server has no list
	}
	failed := e.warnUnread(unread)
	return partly(cmp.Or(e.printRecordTable(tags), failed), len(unread) > 0)
}

// warnUnread names the tags and lines of the log that could not be read. It returns the error of the server, if one of
// the errors is that: then there may be more.
func (e *env) warnUnread(unread []error) (failed error) {
	var damaged []error
	for _, err := range unread {
		if store.IsServerError(err) {
			failed = err
		} else {
			damaged = append(damaged, err)
		}
	}
	for i, err := range damaged {
		if i == maxWarnings {
			e.warn(fmt.Sprintf("and %d more; 'castar verify' lists them", len(damaged)-i))
			break
		}
		e.warn(err.Error())
	}
	return failed
}

// shortDigits is how much of a digest a table shows: enough to identify it, and short enough to leave room.
const shortDigits = 16

// printRecordTable prints a table, or with --json an object for each row.
func (e *env) printRecordTable(tags []store.Tag) error {
	isLog, header := e.command == "log", "NAME\tROOT\tTIME\tSOURCE"
	if isLog {
		header = "@\tTIME\tROOT\tFILES\tSIZE\tTAG\tSOURCE"
	}
	comments := slices.ContainsFunc(tags, func(t store.Tag) bool { return t.Comment != "" })
	if comments {
		header += "\tCOMMENT"
	}
	w := e.newRows(header)
	for i, t := range tags {
		number := 0
		if isLog {
			number = i + 1
		}
		j, err := newJSONRecord(t, number)
		if err != nil {
			return err
		}
		name, source := orDash(t.Name), orDash(t.Source)
		when, digest := t.Time.Local().Format(time.DateTime), j.Root[:shortDigits]
		cells := []string{name, digest, when, source}
		if isLog {
			cells = []string{fmt.Sprint("@", number), when, digest, fmt.Sprint(t.Counts.Files), store.HumanBytes(t.Counts.Bytes), name, source}
		}
		if comments {
			cells = append(cells, orDash(t.Comment))
		}
		w.row(j, cells...)
	}
	return w.Flush()
}

// orDash returns text for people to read, or a dash if it is empty.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return quote(text)
}
