package ignore

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkMatch asks 300 patterns, of the kinds and in about the proportions of the Linux kernel's .gitignore, about
// the 78 thousand paths of a tree of its size.
func BenchmarkMatch(b *testing.B) {
	var file strings.Builder
	for i := range 100 {
		fmt.Fprintf(&file, "*.%c%do\n/%s/generated%d.h\ntool%c%d\n", 'a'+i%26, i, []string{"arch/x86", "scripts", "drivers"}[i%3], i, 'a'+i%26, i)
	}
	file.WriteString(".*\n!.gitignore\nmodules.*\n**/test-[0-9]*/out\n*.[oa]\n")
	s := Root(New("*.swp")).Push("", Parse([]byte(file.String())))
	var paths []string
	for i := range 78_000 {
		paths = append(paths, fmt.Sprintf("drivers/net/vendor%d/device%d/some_file_%d.%s", i%50, i%700, i, []string{"c", "h", "rst", "S"}[i%4]))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, path := range paths {
			if s.Match(path, false) {
				b.Fatal(path)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(paths)), "ns/path")
}
