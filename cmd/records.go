package cmd

import (
	"fmt"
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
	Name string `json:"name,omitempty" help:"the tag"`
	jsonRoot
	Time time.Time `json:"time"`
	jsonSource
	store.Counts // all 0 for a tag that was set by hand
}

// print writes the list. It returns errPartial if something could not be read.
func (r *records) print() error {
	if r.damaged > maxWarnings {
		r.env.warn(r.command, fmt.Sprintf("and %d more; 'castar verify' lists them", r.damaged-maxWarnings))
	}
	err := r.printTable()
	if err == nil && r.damaged > 0 {
		err = errPartial
	}
	return err
}

// shortDigits is how much of a digest a table shows: enough to identify it, and short enough to leave room.
const shortDigits = 16

// printTable prints a table, or with --json an object for each row.
func (r *records) printTable() error {
	w := newTable(r.env.stdout)
	for i, t := range r.tags {
		root, err := newJSONRoot(t.Root)
		if err != nil {
			return err
		}
		if r.env.json {
			r.env.stdout.json(jsonRecord{t.Name, root, t.Time, newJSONSource(t.Source), t.Counts})
			continue
		}
		name, source := "-", "-"
		if t.Name != "" {
			name = quote(t.Name)
		}
		if t.Source != "" {
			source = quote(t.Source)
		}
		when, digest := t.Time.Local().Format(time.DateTime), root.Root[:shortDigits]
		switch {
		case r.command == "tag" && i == 0:
			fmt.Fprintln(w, "NAME\tROOT\tTIME\tSOURCE")
		case i == 0:
			fmt.Fprintln(w, "TIME\tROOT\tFILES\tSIZE\tTAG\tSOURCE")
		}
		if r.command == "tag" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, digest, when, source)
		} else {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", when, digest, t.Counts.Files, humanBytes(t.Counts.Bytes), name, source)
		}
	}
	return w.Flush()
}
