package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A directory beyond the limits is neither written nor read, and nothing is allocated for its entries.
func TestDirectoryLimits(t *testing.T) {
	target := strings.Repeat("t", MaxTargetLen)
	var dir Directory
	for i := range MaxDirectorySize/MaxTargetLen - 200 {
		dir = append(dir, Node{Kind: KindSymlink, Name: fmt.Sprintf("%08d", i), Target: target})
	}
	if n := encodedSize(dir); n > MaxDirectorySize {
		t.Fatalf("%d bytes", n)
	}
	if err := dir.Validate(); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		dir = append(dir, Node{Kind: KindSymlink, Name: fmt.Sprintf("x%08d", i), Target: target})
	}
	if _, err := EncodeDirectory(dir); err == nil || !strings.Contains(err.Error(), "a directory has at most") {
		t.Errorf("of too many bytes: %v", err)
	}
	if _, err := DecodeDirectory(make([]byte, MaxDirectorySize+1)); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("of too many bytes: %v", err)
	}
	link := []byte{0x1a, 6, 0x0a, 1, 'a', 0x12, 1, 'b'}
	if _, err := DecodeDirectory(bytes.Repeat(link, MaxDirectoryEntries+1)); err == nil || !strings.Contains(err.Error(), "entries") {
		t.Errorf("of too many entries: %v", err)
	}
}
