package advice

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"castar/store"
	"castar/store/tree"
)

// If a store cannot check itself, nothing may be removed or rebuilt only because it could not be read.
func TestOnFinding(t *testing.T) {
	lost := fmt.Errorf("%w: a file that was damaged", store.ErrTagsLost)
	tests := []struct {
		finding    tree.Finding
		repairable bool
		want       string
	}{
		{tree.Finding{Damage: store.Damage{What: store.DamageLog, Where: "castar/log/x", Err: store.ErrDigestMismatch}}, false, "remove this object"},
		{tree.Finding{Damage: store.Damage{What: store.DamageLog, Err: fs.ErrPermission}}, false, "check permissions and the connection"},
		{tree.Finding{Damage: store.Damage{What: store.DamageTag, Where: "castar/tags/x", Err: store.ErrDigestMismatch}}, false, "set the tag again"},
		{tree.Finding{Damage: store.Damage{What: store.DamageTag, Err: fs.ErrPermission}}, false, "check permissions and the connection"},
		{tree.Finding{Damage: store.Damage{What: store.DamageTag, Err: lost}}, true, "set the tags again: 'castar log'"},
		{tree.Finding{Damage: store.Damage{What: store.DamageUnreadable}}, true, "check permissions and the disk"},
		{tree.Finding{Damage: store.Damage{What: store.DamageObject, Kind: store.KindFile}, Unreached: true}, true, "no tag and no line of the log reaches it"},
		{tree.Finding{Damage: store.Damage{What: store.DamageObject, Kind: store.KindFile}}, true, "ingest the same files again"},
		{tree.Finding{Damage: store.Damage{What: store.DamageObject, Kind: store.KindFile}}, false, "'castar copy'"},
	}
	for _, tt := range tests {
		if got := OnFinding(tt.finding, tt.repairable); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.finding, got, tt.want)
		}
	}
	// Every kind of finding has advice.
	for _, what := range []store.DamageKind{store.DamageConfig, store.DamageIndex, store.DamagePack, store.DamageFrame, store.DamageTag, store.DamageLog,
		store.DamageObject, store.DamageMissing, store.DamageSize, store.DamageAssembly, store.DamageUnreadable, store.DamageDepth} {
		if OnFinding(tree.Finding{Damage: store.Damage{What: what}}, true) == "" {
			t.Errorf("%s: no advice", what)
		}
	}
}

func TestOnRefusedGC(t *testing.T) {
	for err, want := range map[error]string{
		context.Canceled:      "",
		store.ErrTagsLost:     "set them again with 'castar tag'",
		store.ErrNotFound:     "'castar verify'",
		store.ErrNewer:        "it is not damaged",
		&store.CorruptError{}: "'castar verify'",
	} {
		if got := OnRefusedGC(fmt.Errorf("x: %w", err), false); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := OnRefusedGC(&store.CorruptError{Err: store.ErrNotFound}, true); !strings.HasPrefix(got, "'castar repair' drops such lines") {
		t.Errorf("a line of the log: %q", got)
	}
}
