package cmd

import (
	"io/fs"
	"strings"
	"testing"

	"castar/store"
	"castar/store/tree"
)

// Of a store that cannot check itself, nothing is to be removed or made anew that could only not be looked at.
func TestAdvice(t *testing.T) {
	tests := []struct {
		damage store.Damage
		want   string
	}{
		{store.Damage{What: store.WhatLog, Where: "castar/log/x", Err: store.ErrDigestMismatch}, "remove what is there"},
		{store.Damage{What: store.WhatLog, Err: fs.ErrPermission}, "look after permissions"},
		{store.Damage{What: store.WhatTag, Where: "castar/tags/x", Err: store.ErrDigestMismatch}, "set the tag again"},
		{store.Damage{What: store.WhatTag, Err: fs.ErrPermission}, "look after permissions"},
	}
	for _, tt := range tests {
		v := &verified{foreign: true}
		if got := v.advice(tree.Finding{Damage: tt.damage}); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.damage, got, tt.want)
		}
	}
}
