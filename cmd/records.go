package cmd

import (
	"fmt"
	"text/tabwriter"
	"time"

	"castar/store"
)

// records is a list of tags or log entries to print.
type records struct {
	env     *env
	command string
	tags    []store.Tag
	damaged uint64 // the number of those that cannot be read
}

// maxWarnings is how many warnings of one kind are printed.
const maxWarnings = 20

func newRecords(e *env, command string) *records { return &records{env: e, command: command} }

// add takes what the store yields: a tag, or the reason why it cannot be read.
func (r *records) add(t store.Tag, err error) {
	if err != nil {
		if r.damaged++; r.damaged <= maxWarnings {
			r.env.warn(r.command, err.Error())
		}
		return
	}
	r.tags = append(r.tags, t)
}

// jsonRecord is a tag or a log entry as JSON.
type jsonRecord struct {
	Name         string    `json:"name,omitempty"`          // the tag; in the log, the one given at the ingest, if any
	Root         string    `json:"root"`                    // 64 hexadecimal digits
	Kind         string    `json:"kind"`                    // directory, file or symlink
	Time         time.Time `json:"time"`                    // when the ingest ended or the tag was set
	Source       string    `json:"source,omitempty"`        // the absolute path that was ingested, if known
	SourceBase64 string    `json:"source_base64,omitempty"` // if that is not UTF-8
	store.Counts           // files, directories, symlinks, bytes; all 0 for a tag that was set by hand
}

// print writes the list. It returns errPartial if something could not be read.
func (r *records) print() error {
	if r.damaged > maxWarnings {
		r.env.warn(r.command, fmt.Sprintf("and %d more; 'castar verify' lists them", r.damaged-maxWarnings))
	}
	var err error
	if r.env.json {
		err = r.printJSON()
	} else {
		err = r.printTable()
	}
	if err == nil && r.damaged > 0 {
		err = errPartial
	}
	return err
}

func (r *records) printJSON() error {
	for _, t := range r.tags {
		digest, err := t.Root.RootDigest()
		if err != nil {
			return err
		}
		j := jsonRecord{Name: t.Name, Root: digest.String(), Kind: t.Root.Kind.String(), Time: t.Time, Counts: t.Counts}
		j.Source, j.SourceBase64 = jsonName(t.Source)
		r.env.stdout.json(j)
	}
	return nil
}

// shortDigits is how much of a digest a table shows: enough to identify it, and short enough to leave room.
const shortDigits = 16

func (r *records) printTable() error {
	if len(r.tags) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(r.env.stdout, 0, 0, 2, ' ', 0)
	if r.command == "tag" {
		fmt.Fprintln(w, "NAME\tROOT\tTIME\tSOURCE")
	} else {
		fmt.Fprintln(w, "TIME\tROOT\tFILES\tSIZE\tTAG\tSOURCE")
	}
	for _, t := range r.tags {
		digest, err := t.Root.RootDigest()
		if err != nil {
			return err
		}
		when, root, source := t.Time.Local().Format(time.DateTime), digest.String()[:shortDigits], "-"
		if t.Source != "" {
			source = quote(t.Source)
		}
		if r.command == "tag" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", quote(t.Name), root, when, source)
			continue
		}
		name := "-"
		if t.Name != "" {
			name = quote(t.Name)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", when, root, t.Counts.Files, humanBytes(t.Counts.Bytes), name, source)
	}
	return w.Flush()
}
