package record

import (
	"fmt"
	"time"

	"castar/store"
)

// tag is the JSON form of store.Tag. A new field of a tag goes here and there.
type tag struct {
	Name   string       `json:"name,omitempty"`
	Root   []byte       `json:"root"` // the Node message, in base64
	Time   time.Time    `json:"time"`
	Source []byte       `json:"source"` // raw bytes, in base64
	Counts store.Counts `json:"counts"`

	Host    string       `json:"host,omitempty"`
	Comment string       `json:"comment,omitempty"`
	Version string       `json:"version,omitempty"`
	Seconds float64      `json:"seconds,omitempty"`
	Listing store.Digest `json:"listing,omitzero"` // 64 hexadecimal digits
}

// EncodeTag returns the record of a tag or of a line of the log. It refuses what DecodeTag would refuse.
func EncodeTag(f Form, t store.Tag) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	root, err := store.EncodeNode(t.Root)
	if err != nil {
		return nil, err
	}
	b, err := f.Encode(tag{t.Name, root, t.Time, []byte(t.Source), t.Counts, t.Host, t.Comment, t.Version, t.Seconds, t.Listing},
		t.Extra)
	if err == nil && t.Extra != "" {
		_, err = DecodeTag(f, b)
	}
	if err == nil && len(b) > Max {
		err = fmt.Errorf("record of %d bytes, want at most %d", len(b), Max)
	}
	return b, err
}

// DecodeTag reads what EncodeTag has returned. The error is store.ErrNewer for a record that this program must not judge.
func DecodeTag(f Form, b []byte) (store.Tag, error) {
	var r tag
	extra, err := f.Decode(b, &r)
	if err != nil {
		return store.Tag{}, err
	}
	root, err := store.DecodeNode(r.Root)
	return store.Tag{Name: r.Name, Root: root, Time: r.Time, Source: string(r.Source), Counts: r.Counts, Host: r.Host,
		Comment: r.Comment, Version: r.Version, Seconds: r.Seconds, Listing: r.Listing, Extra: extra}, err
}
