package record

import (
	"errors"
	"strings"
	"testing"
	"time"

	"castar/store"
)

// line is a record with a field of each sort.
type line struct {
	Name   string       `json:"name,omitempty"`
	Counts store.Counts `json:"counts"`
	Time   time.Time    `json:"time"`

	hidden string
}

var _ = line{}.hidden // which no field of a record may reach

// Both forms keep what they do not know, in an object that they know as well, and refuse what they must not judge.
func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, object string
		extra        string // that comes back
		newer        string // in the error that is store.ErrNewer
		bad          string // in another error
	}{
		{name: "known", object: `{"name":"a","counts":{"files":1},"time":"2024-01-01T00:00:00Z"}`},
		{name: "string", object: `{"name":"a","why":"x"}`, extra: `{"why":"x"}`},
		{name: "object", object: `{"z":{"b":[1,{"c":2.50}]},"name":"a"}`, extra: `{"z":{"b":[1,{"c":2.50}]}}`},
		{name: "inside", object: `{"counts":{"sockets":3,"files":1}}`, extra: `{"counts":{"sockets":3}}`},
		{name: "odd names", object: `{"":1,"-":2,"hidden":3,"Name":"b"}`, extra: `{"":1,"-":2,"Name":"b","hidden":3}`},
		{name: "large number", object: `{"n":123456789012345678901234567890}`, extra: `{"n":123456789012345678901234567890}`},
		{name: "empty", object: `{}`},
		{name: "needs nothing", object: `{"needs":[],"x":1}`, extra: `{"needs":[],"x":1}`},
		{name: "needs words", object: `{"needs":["lock","words"],"lock":true}`, newer: `needs "lock"`},
		{name: "needs a word, fields changed", object: `{"needs":["words"],"name":7}`, newer: `needs "words"`},
		{name: "needs a word", object: `{"needs":"words"}`, newer: `needs "words"`},
		{name: "needs a number", object: `{"needs":[1]}`, newer: `needs [1]`},
		{name: "type", object: `{"name":7}`, bad: "field name"},
		{name: "no object", object: `[]`, bad: "array"},
		{name: "cut", object: `{"name":`, bad: "JSON"},
	} {
		for form := range TwoLines + 1 {
			var v line
			extra, err := form.Decode(form.Wrap([]byte(tt.object)), &v)
			switch {
			case tt.newer != "" && (!errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), tt.newer)),
				tt.bad != "" && (err == nil || errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), tt.bad)),
				tt.newer+tt.bad == "" && err != nil:
				t.Errorf("%s: error %v", tt.name, err)
			}
			if err != nil {
				continue
			}
			if extra != tt.extra {
				t.Errorf("%s: extra %s, want %s", tt.name, extra, tt.extra)
			}
			b, err := form.Encode(v, extra)
			if err != nil {
				t.Fatal(err)
			}
			var again line
			if extra, err := form.Decode(b, &again); err != nil || again != v || extra != tt.extra {
				t.Errorf("%s: %+v and %s come back as %+v and %s, %v", tt.name, v, tt.extra, again, extra, err)
			}
		}
	}
}

// A changed bit is noticed in each form, and is not taken for a newer program.
func TestSeal(t *testing.T) {
	for form := range TwoLines + 1 {
		whole := form.Wrap([]byte(`{"needs":["words"]}`))
		for i := range len(whole) - 1 { // a record of one line may lack its newline
			b := []byte(string(whole))
			b[i] ^= 1
			if _, err := form.Decode(b, new(line)); err == nil || errors.Is(err, store.ErrNewer) {
				t.Errorf("form %d, byte %d: error %v", form, i, err)
			}
		}
		if _, err := form.Decode((1 - form).Wrap([]byte(`{}`)), new(line)); err == nil {
			t.Errorf("form %d reads the other", form)
		}
	}
}

// What castar of last year wrote is written byte by byte as it was.
func TestTagBytes(t *testing.T) {
	tag := store.Tag{Name: "v1", Root: store.Node{Kind: store.KindSymlink, Target: "x"}, Time: time.Unix(0, 0).UTC(), Source: "/a", Counts: store.Counts{Files: 1}}
	const object = `{"name":"v1","root":"GgMSAXg=","time":"1970-01-01T00:00:00Z","source":"L2E=",` +
		`"counts":{"files":1,"directories":0,"symlinks":0,"bytes":0}}`
	for form := range TwoLines + 1 {
		b, err := EncodeTag(form, tag)
		if err != nil || string(b) != string(form.Wrap([]byte(object))) {
			t.Errorf("%q, %v", b, err)
		}
		if got, err := DecodeTag(form, b); err != nil || got != tag {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if b := OneLine.Wrap([]byte(`{}`)); string(b) != store.Sum([]byte(`{}`)).String()[:32]+" {}\n" {
		t.Errorf("%q", b)
	}
	if b := TwoLines.Wrap([]byte(`{}`)); string(b) != store.Sum([]byte("{}\n")).String()+"\n{}\n" {
		t.Errorf("%q", b)
	}
	for _, extra := range []string{`[]`, `{`, `"x"`, `{"needs":["words"]}`} {
		tag.Extra = extra
		if b, err := EncodeTag(OneLine, tag); err == nil {
			t.Errorf("%s: written as %s", extra, b)
		}
	}
}

func TestMerge(t *testing.T) {
	for _, tt := range [][3]string{
		{"", "", ""},
		{`{"a":1}`, "", `{"a":1}`},
		{"", `{"a":1}`, `{"a":1}`},
		{`{"a":1}`, `{"a":2,"b":3}`, `{"a":1,"b":3}`},
		{`{"a":{"x":1}}`, `{"a":{"x":2,"y":2}}`, `{"a":{"x":1,"y":2}}`},
		{`{"a":[1]}`, `{"a":{"y":2}}`, `{"a":[1]}`},
	} {
		if got, err := Merge(tt[0], tt[1]); err != nil || got != tt[2] {
			t.Errorf("%s and %s: %s, %v, want %s", tt[0], tt[1], got, err, tt[2])
		}
	}
}

// FuzzRecord reads any bytes as records of both forms. What is read comes back whole when it is written again.
func FuzzRecord(f *testing.F) {
	for _, object := range []string{
		`{"name":"a","counts":{"files":1,"sockets":2},"time":"2024-01-01T00:00:00Z"}`, `{"why":"x","z":{"y":[]}}`, `{}`,
		`{"needs":["lock"],"lock":1}`, `{"needs":["words"]}`, `{"needs":7}`, `{"":{},"-":null,"NAME":"<\u2028>"}`, `[]`, `{"a":"\ud800\xff"}`,
		`{"root":"GgMSAXg=","time":"2024-01-01T00:00:00+23:59","source":"//8=","counts":{},"extra":1}`,
	} {
		f.Add([]byte(object))
		f.Add(OneLine.Wrap([]byte(object)))
		f.Add(TwoLines.Wrap([]byte(object)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for form := range TwoLines + 1 {
			for _, b := range [][]byte{b, form.Wrap(b)} {
				var v, again line
				extra, err := form.Decode(b, &v)
				if err == nil {
					b, err := form.Encode(v, extra)
					if err != nil {
						t.Errorf("%+v and %s: %v", v, extra, err)
					}
					back, err := form.Decode(b, &again)
					if again.Time.Equal(v.Time) {
						again.Time = v.Time
					}
					if err != nil || back != extra || again != v {
						t.Errorf("%+v and %s come back as %+v and %s, %v", v, extra, again, back, err)
					}
				}
				tag, err := DecodeTag(form, b)
				if err != nil {
					continue
				}
				b, err := EncodeTag(form, tag)
				if err != nil {
					if len(b) <= Max {
						t.Errorf("%+v: %v", tag, err)
					}
					continue
				}
				if back, err := DecodeTag(form, b); err != nil || back.Extra != tag.Extra || back.Root != tag.Root || !back.Time.Equal(tag.Time) {
					t.Errorf("%+v comes back as %+v, %v", tag, back, err)
				}
			}
		}
	})
}
