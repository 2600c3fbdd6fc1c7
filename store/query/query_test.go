package query

import (
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"castar/store/storetest/gorace"
)

func TestMain(m *testing.M) { gorace.Main(m) }

func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		query string
		want  map[string]string
		err   string
	}{
		{"", map[string]string{}, ""},
		{"a=1&b=2%203", map[string]string{"a": "1", "b": "2 3"}, ""},
		{"a=x+y%2B", map[string]string{"a": "x+y+"}, ""},
		{"a=SECRET&a=SECRET", nil, `parameter "a" is given twice`},
		{"b=SECRET&a=", nil, `parameter "a" has no value`},
		{"b", nil, `parameter "b" has no value`},
		{"c=SECRET", nil, `unknown parameter "c": want a, b`},
		{"a=SECRET%zz", nil, "invalid query"},
		{"a=SECRET;b=SECRET", nil, "invalid query"},
	} {
		values, err := Parse(tt.query)
		var got map[string]string
		if err == nil {
			got, err = Once(values, "a", "b")
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if !maps.Equal(got, tt.want) || text != tt.err || strings.Contains(text, "SECRET") {
			t.Errorf("%q: %q, %q, want %q, %q", tt.query, got, text, tt.want, tt.err)
		}
	}
	if _, err := Once(url.Values{"a": nil}); err == nil {
		t.Error("a parameter without values is none")
	}
	if err := Missing("a", "1", "b", "", "c", ""); fmt.Sprint(err) != "missing b and c" {
		t.Errorf("%v, want b and c", err)
	}
	if err := Missing("a", "1"); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
}
