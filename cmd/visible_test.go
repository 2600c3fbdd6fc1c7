package cmd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestVisible(t *testing.T) {
	tests := []struct{ text, want string }{
		{"plain\ttext\n", "plain\ttext\n"},
		{"grüße, 日本　\u00a0\n", "grüße, 日本　\u00a0\n"}, // and spaces
		{"line\r\nline\r\n", "line\r\nline\r\n"},
		{"hidden\rshown", "hidden^Mshown"},
		{"end\r", "end^M"},
		{"\x1b]0;title\a\b\x00\x7f", "^[]0;title^G^H^@^?"},
		{"\u009b31m", `\u009b31m`},
		{"\x9b31m\xff", `\x9b31m\xff`},
		{"a\u202eb\u200bc\ufeffd\u2028", `a\u202eb\u200bc\ufeffd\u2028`},
		{"a\u3164\ufe0f\U000e0041", `a\u3164\ufe0f\U000e0041`},
		{"cut \xe2\x82", `cut \xe2\x82`},
		{"\uFFFD", "\uFFFD"},
	}
	for _, tt := range tests {
		for step := 1; step <= 5; step++ { // pieces may end anywhere
			var out bytes.Buffer
			v := &visible{w: &out}
			for at := 0; at < len(tt.text); at += step {
				if _, err := v.Write([]byte(tt.text[at:min(at+step, len(tt.text))])); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.Flush(); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want {
				t.Errorf("%q in pieces of %d: got %q, want %q", tt.text, step, &out, tt.want)
			}
		}
	}
}

// TestWriteJSON has strings that a terminal would obey, or not show, and looks for them to come back the same.
func TestWriteJSON(t *testing.T) {
	text := "a<b>&\x1b\x7f\u0085\u009b\u061c\u200b\u202e\u2066\u2069\u3164\ufe0f\U000e0041ü日\U0001f600\u00a0"
	var out bytes.Buffer
	if err := writeJSON(&out, jsonAddress{URL: text}); err != nil {
		t.Fatal(err)
	}
	line, _ := strings.CutSuffix(out.String(), "\n")
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' && !strings.ContainsRune("ü日\U0001f600", r) }); i >= 0 {
		t.Errorf("%q is in %q", line[i:i+4], line)
	}
	if !strings.Contains(line, "ü日\U0001f600") || !strings.Contains(line, "<b>&") {
		t.Errorf("got %s", line)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(line), &back); err != nil || back["url"] != text {
		t.Errorf("got back %q, %v", back, err)
	}
}
