package table

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

const benchRecords = 10_000_000

// benchTable returns 10 million records and a table of them in a mapped file.
func benchTable(b *testing.B) (records, data []byte) {
	b.Helper()
	if testing.Short() {
		b.Skip("takes 1 GB")
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "table"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	records = randomRecords(blobShape, benchRecords, 1)
	sorted := Sort(blobShape, slices.Clone(records))
	size, err := Write(f, blobShape, benchRecords, Merge(blobShape, Sorted(blobShape, sorted)))
	if err != nil {
		b.Fatal(err)
	}
	data, err = syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { syscall.Munmap(data) })
	return records, data
}

func BenchmarkMapped(b *testing.B) {
	records, data := benchTable(b)
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Open(blobShape, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	table := open(b, blobShape, data)
	size := blobShape.Size()
	find := func(keys []byte, want bool) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			n := len(keys) / size
			i := 0
			for b.Loop() {
				if _, ok := table.Find(keys[i*size:][:32]); ok != want {
					b.Fatal(ok)
				}
				i = (i + 1) % n
			}
		}
	}
	b.Run("hit", find(records, true))
	b.Run("miss", find(randomRecords(blobShape, 1_000_000, 2), false))
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if err := table.Check(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
	})
}

func benchSort(b *testing.B, n int) {
	records := randomRecords(blobShape, n, 1)
	work := slices.Clone(records)
	for b.Loop() {
		copy(work, records)
		Sort(blobShape, work)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
}

func BenchmarkSort(b *testing.B) {
	b.Run("256Ki", func(b *testing.B) { benchSort(b, DefaultLimit) })
	b.Run("10M", func(b *testing.B) {
		if testing.Short() {
			b.Skip("takes 1 GB")
		}
		benchSort(b, benchRecords)
	})
}

// BenchmarkWrite writes the merge of one, and of four, sources of a million records in all.
func BenchmarkWrite(b *testing.B) {
	const n = 1_000_000
	for name, k := range map[string]int{"1 source": 1, "4 sources": 4} {
		var sources []Source
		for i := range k {
			sources = append(sources, Sorted(blobShape, Sort(blobShape, randomRecords(blobShape, n/k, byte(i)))))
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Write(io.Discard, blobShape, n, Merge(blobShape, sources...)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

// BenchmarkBuilder finds and adds records, 16 times what it holds in memory.
func BenchmarkBuilder(b *testing.B) {
	const n = 1 << 20
	records := randomRecords(blobShape, n, 1)
	for b.Loop() {
		create, _, _ := spills()
		builder, err := NewBuilder(blobShape, n/16, create)
		if err != nil {
			b.Fatal(err)
		}
		for rec := range slices.Chunk(records, blobShape.Size()) {
			if _, ok := builder.Find(rec[:32]); ok {
				b.Fatal("found too early")
			}
			if err := builder.Add(rec[:32], rec[32:]); err != nil {
				b.Fatal(err)
			}
		}
		if _, ok := builder.Find(bytes.Clone(records[:32])); !ok {
			b.Fatal("not found")
		}
		builder.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
}
