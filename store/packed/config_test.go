package packed

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/store"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// A store has the least version with which it can be described, so that programs which do not know of size rules go on
// using those that need none, and refuse the others.
func TestConfigVersion(t *testing.T) {
	for rule, want := range map[store.SizeRule]string{
		store.SizeDocumented: `{"version":1,`, store.SizeSnix: `{"version":2,`,
	} {
		dir := t.TempDir()
		st, err := Open(t.Context(), dir, Options{Create: true, SizeRule: rule})
		if err != nil {
			t.Fatal(err)
		}
		st.Close()
		b, err := os.ReadFile(filepath.Join(dir, sealed.ConfigName))
		if err != nil || !strings.Contains(string(b), want) || strings.Contains(string(b), "size_rule") != (rule == store.SizeSnix) {
			t.Errorf("%v: %s, %v", rule, b, err)
		}
		// Whoever opens it later has its rule, whatever a new one would have.
		st, err = Open(t.Context(), dir, Options{Create: true, SizeRule: 1 - rule})
		if err != nil || st.SizeRule != rule {
			t.Errorf("%v: opened with another rule: %v", rule, err)
		}
		st.Close()
		if got, err := SizeRule(dir); err != nil || got != rule {
			t.Errorf("SizeRule = %v, %v, want %v", got, err, rule)
		}
	}
}

func TestParseConfig(t *testing.T) {
	const rest = `"id":"00112233445566778899aabbccddeeff","hash":"blake3","chunker":"fastcdc2020","chunk_average":262144,"compression":"zstd"`
	for _, tt := range []struct {
		json  string
		rule  store.SizeRule
		newer bool
		bad   bool
	}{
		{`{"version":1,` + rest + `}`, store.SizeDocumented, false, false},
		{`{"version":1,` + rest + `,"since":{"then":1}}`, store.SizeDocumented, false, false},
		{`{"version":2,` + rest + `,"size_rule":"snix"}`, store.SizeSnix, false, false},
		{`{"version":2,` + rest + `,"size_rule":"tvix"}`, 0, false, true},
		{`{"version":2,` + rest + `,"size_rule":1}`, 0, false, true},
		{`{"version":3,` + rest + `}`, 0, true, false},
		{`{"version":0,` + rest + `}`, 0, false, true},
	} {
		c, err := sealed.ParseConfig(record.OneLine.Wrap([]byte(tt.json)))
		if errors.Is(err, pack.ErrFormat) != tt.newer || (err != nil) != (tt.newer || tt.bad) || err == nil && c.SizeRule != tt.rule {
			t.Errorf("%s: %v, %v", tt.json, c.SizeRule, err)
		}
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	for try, want := range []string{"", "a store is there already"} {
		st, err := Open(t.Context(), dir, Options{Create: true, New: true})
		if err == nil {
			st.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("try %d: error %v, want %q", try, err, want)
		}
	}
}
