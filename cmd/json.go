package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"castar/store"
	"castar/store/tree"
)

// jsonLine is an object that is a line by itself. lineType tells a program what it reads: it is the field type, the first.
// It is "" if the object has such a field of its own.
type jsonLine interface{ lineType() string }

// print prints a result: v with --json, and otherwise text, a line.
func (e *env) print(v jsonLine, text string) {
	if e.json {
		e.stdout.json(v)
	} else {
		fmt.Fprintln(e.stdout, text)
	}
}

// jsonRoot is what JSON says of a root.
type jsonRoot struct {
	Root string `json:"root"` // 64 hexadecimal digits
	Kind string `json:"kind" help:"directory, file or symlink"`
}

func newJSONRoot(n store.Node) (jsonRoot, error) {
	digest, err := n.RootDigest()
	return jsonRoot{digest.String(), n.Kind.String()}, err
}

// jsonPath is a path in JSON.
type jsonPath struct {
	Path       string `json:"path"`
	PathBase64 string `json:"path_base64,omitempty"`
}

func newJSONPath(path string) (j jsonPath) {
	j.Path, j.PathBase64 = store.JSONName(path)
	return j
}

// jsonEntry is a line of castar ls --json and castar find --json. The path begins below what was asked for.
type jsonEntry struct {
	jsonPath
	tree.JSONNode
	jsonFacts // of castar ls
}

func (jsonEntry) lineType() string { return "entry" }

// withJSON returns a help text with a paragraph about --json before its examples. Each of about is a sentence without its
// end, and an object whose fields complete it.
func withJSON(help string, about ...any) string {
	var b strings.Builder
	var encoded []string
	b.WriteString("\nWith --json, ")
	for i := 0; i < len(about); i += 2 {
		fmt.Fprintf(&b, "%s: ", about[i])
		if line, ok := about[i+1].(jsonLine); ok && line.lineType() != "" {
			fmt.Fprintf(&b, "type (%s), ", line.lineType())
		}
		b.WriteString(jsonFields(reflect.TypeOf(about[i+1]), &encoded) + ". ")
	}
	if len(encoded) > 0 {
		slices.Sort(encoded)
		encoded = slices.Compact(encoded)
		fmt.Fprintf(&b, "If a name is not UTF-8, it is also in base64, as %s.\n", strings.Join(encoded, " or "))
	}
	text, examples, ok := strings.Cut(help, "\nExamples:\n")
	if ok {
		examples = "\nExamples:\n" + examples
	}
	return text + "\n" + strings.TrimSpace(b.String()) + "\n" + examples
}

// jsonFields returns the names of the JSON fields of objects of a type, each with its remark in the tag help, and with the
// fields of the objects in it. It appends to encoded the names of fields that may also be in base64.
func jsonFields(t reflect.Type, encoded *[]string) string {
	var all []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "":
			continue // what it embeds comes next
		case strings.HasSuffix(name, "_base64"):
			*encoded = append(*encoded, name)
			continue
		}
		remark, inner := f.Tag.Get("help"), f.Type
		for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if remark == "" && inner.Kind() == reflect.Struct && strings.HasPrefix(inner.PkgPath(), "castar/") {
			remark = jsonFields(inner, encoded)
		}
		if remark != "" {
			name += " (" + remark + ")"
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

// writeJSON writes v as one line. It escapes everything in strings that is not plain, so that a terminal shows the line and
// does not obey it. JSON itself asks only for escapes of control characters below the space.
func writeJSON(w io.Writer, v jsonLine) error {
	var b bytes.Buffer
	return writeJSONBy(&b, w, v)
}

// writeJSONBy is writeJSON with memory that is used again.
func writeJSONBy(b *bytes.Buffer, w io.Writer, v jsonLine) error {
	b.Reset()
	t := v.lineType()
	if t != "" {
		b.WriteString(`{"type":"` + t + `"`)
	}
	begin := b.Len()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if t != "" {
		b.Bytes()[begin] = ',' // in place of the brace
	}
	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON returns a line of JSON with escapes for everything that is not plain. Such characters occur only in strings.
func escapeJSON(line []byte) []byte {
	end := len(line) - 1 // a newline
	if !slices.ContainsFunc(line[:end], func(c byte) bool { return c < ' ' || c > '~' }) {
		return line
	}
	var b []byte
	for _, r := range string(line[:end]) {
		switch first, second := utf16.EncodeRune(r); {
		case store.IsPlain(r):
			b = utf8.AppendRune(b, r)
		case r >= 0x10000:
			b = fmt.Appendf(b, `\u%04x\u%04x`, first, second)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, line[end])
}

// plainLines passes on one line with each call of Write, as escape returns it.
type plainLines struct {
	w      io.Writer
	escape func(line []byte) []byte // with its newline
}

func (p plainLines) Write(line []byte) (int, error) {
	if _, err := p.w.Write(p.escape(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}
