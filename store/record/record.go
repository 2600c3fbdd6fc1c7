// Package record reads and writes the lines of a store that can grow: tags, the log, and the small files of a packed
// store. A line is a JSON object with a checksum, which is called its seal.
//
// A program of another year may write fields that this one does not know. The rules are:
//
//   - A reader keeps a field that it does not know, also inside an object that it knows, and writes it again when it writes
//     the line again.
//   - A field "needs" lists words, as in "needs":["words","lock"]. Each stands for something that a reader must understand
//     to get the line right. A word that the reader does not know makes the line unreadable for it: the error is
//     store.ErrNewer, which is not damage. Such a line is neither replaced nor removed.
//   - No two fields of an object differ only in case.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"castar/store"
)

// Max is the length of the longest record that is written or read, in bytes. Memory must not follow what a file claims.
// The longest path that a system call takes is 4096 bytes.
const Max = 1 << 20

// Form is how a record is sealed.
type Form int

const (
	// OneLine is the form of packed stores: hex{32} SPACE json NEWLINE. The digits are those of the first 16 bytes of
	// the digest of json.
	OneLine Form = iota
	// TwoLines is the form of stores of objects: hex{64} NEWLINE json NEWLINE. The digest is that of json with its newline.
	TwoLines
)

// Wrap seals a JSON object, which must have no newline in it.
func (f Form) Wrap(object []byte) []byte {
	if f == TwoLines {
		object = append(bytes.Clone(object), '\n')
		return append([]byte(store.Sum(object).String()+"\n"), object...)
	}
	line := append([]byte(store.Sum(object).String()[:32]), ' ')
	return append(append(line, object...), '\n')
}

// unwrap returns the JSON object of a record. In a record of one line the newline may be missing.
func (f Form) unwrap(b []byte) ([]byte, error) {
	digits, separator := 2*store.DigestSize, "\n"
	if f == OneLine {
		digits, separator = 32, " "
		b = bytes.TrimSuffix(b, []byte("\n"))
	}
	sum, object, ok := bytes.Cut(b, []byte(separator))
	if !ok || len(sum) != digits {
		return nil, errors.New("not a sealed line")
	}
	if store.Sum(object).String()[:digits] != string(sum) {
		return nil, errors.New("line does not match its checksum")
	}
	return object, nil
}

// Encode returns the record of the struct v and of the fields in extra, which Decode has returned, or "".
func (f Form) Encode(v any, extra string) ([]byte, error) {
	object, err := Format(v, extra)
	return f.Wrap(object), err
}

// Decode reads a record into the struct that v points to. It returns the other fields as a JSON object, or "" if there are
// none. The error is store.ErrNewer if the record needs anything: this program knows no word yet.
func (f Form) Decode(b []byte, v any) (extra string, err error) {
	object, err := f.unwrap(b)
	if err != nil {
		return "", err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return "", err
	}
	if needs, ok := fields["needs"]; ok {
		var words []string
		switch err := json.Unmarshal(needs, &words); {
		case err != nil:
			return "", fmt.Errorf("%w: needs %s", store.ErrNewer, needs)
		case len(words) > 0:
			return "", fmt.Errorf("%w: needs %q", store.ErrNewer, words[0])
		}
	}
	return take(fields, v)
}

// At returns err, which Decode has returned, with the place of the record: as it is if it is store.ErrNewer, and otherwise
// as a *store.CorruptError.
func At(where string, err error) error {
	if errors.Is(err, store.ErrNewer) {
		return fmt.Errorf("%s: %w", where, err)
	}
	return &store.CorruptError{Where: where, Err: err}
}

// Parse reads a JSON object into the struct that v points to, by the names in its json tags, exactly. It returns the other
// fields as a JSON object, or "" if there are none. Those of a struct in v are in an object of that name.
func Parse(object []byte, v any) (extra string, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return "", err
	}
	return take(fields, v)
}

// take is Parse for an object in pieces, which it takes.
func take(fields map[string]json.RawMessage, v any) (extra string, err error) {
	for field, value := range reflect.ValueOf(v).Elem().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		raw, ok := fields[name]
		if !ok || name == "" || name == "-" {
			continue
		}
		delete(fields, name)
		at := value.Addr().Interface()
		if _, own := at.(json.Unmarshaler); own || value.Kind() != reflect.Struct {
			err = json.Unmarshal(raw, at)
		} else if extra, err = Parse(raw, at); extra != "" {
			fields[name] = json.RawMessage(extra)
		}
		if err != nil {
			return "", fmt.Errorf("field %s: %w", name, err)
		}
	}
	if len(fields) == 0 {
		return "", nil
	}
	b, err := json.Marshal(fields)
	return string(b), err
}

// Format returns the JSON object of the struct v and of the fields in extra, which Parse has returned, or "".
func Format(v any, extra string) ([]byte, error) {
	object, err := json.Marshal(v)
	if err != nil || extra == "" {
		return object, err
	}
	return merge(object, []byte(extra))
}

// Merge returns the fields of two JSON objects, each of which may be "". Of a field of both, it is that of a.
func Merge(a, b string) (string, error) {
	if a == "" || b == "" {
		return a + b, nil
	}
	sum, err := merge([]byte(a), []byte(b))
	return string(sum), err
}

func merge(a, b []byte) ([]byte, error) {
	var fields, more map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(a, &fields), json.Unmarshal(b, &more)); err != nil {
		return nil, err
	}
	for name, x := range more {
		have, ok := fields[name]
		switch {
		case !ok:
			fields[name] = x
		case have[0] == '{' && x[0] == '{':
			both, err := merge(have, x)
			if err != nil {
				return nil, err
			}
			fields[name] = both
		}
	}
	return json.Marshal(fields)
}
