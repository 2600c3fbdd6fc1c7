package bigtable

import (
	"context"
	"fmt"
	"iter"
	"regexp"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"castar/store"
)

const (
	// maxCell is the length of the longest value that tvix and snix write, in bytes.
	maxCell = 10 << 20
	// walkRows is how many directories a walk asks for at once.
	walkRows = 256
)

// directories implements store.Directories.
type directories struct{ t *tableClient }

// cell selects the latest version in a column of a row, or in all columns if column is "".
func (t *tableClient) cell(column string) *bigtablepb.RowFilter {
	family := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: regexp.QuoteMeta(t.Family)}}
	latest := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{CellsPerColumnLimitFilter: 1}}
	chain := []*bigtablepb.RowFilter{family, latest}
	if column != "" {
		chain = append(chain, &bigtablepb.RowFilter{
			Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte(regexp.QuoteMeta(column))},
		})
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: chain}}}
}

// decode checks value, which should be the encoding of the directory d, and decodes it.
func (t *tableClient) decode(d store.Digest, value []byte) (store.Directory, error) {
	err := store.ErrDigestMismatch
	if store.Sum(value) == d {
		var dir store.Directory
		if dir, err = store.DecodeDirectory(value); err == nil {
			return dir, nil
		}
	}
	return nil, &store.CorruptError{Digest: d, Where: t.where(), Err: err}
}

func (ds directories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	found, _, err := ds.t.read(ctx, []store.Digest{d})
	if err != nil {
		return nil, err
	}
	value, ok := found[d]
	if !ok {
		return nil, ds.t.absent(d)
	}
	return ds.t.decode(d, value)
}

func (t *tableClient) absent(d store.Digest) error {
	return fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
}

// Put stores a directory unless the table has it.
func (ds directories) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if ds.t.ReadOnly {
		return store.Digest{}, store.ErrReadOnly
	}
	value, err := store.EncodeDirectory(dir)
	if err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(value)
	if len(value) > maxCell {
		return d, fmt.Errorf("directory %s: %d bytes, but bigtable takes at most %d", d, len(value), maxCell)
	}
	key := []byte(d.String())
	set := &bigtablepb.Mutation_SetCell{FamilyName: ds.t.Family, ColumnQualifier: key, TimestampMicros: -1, Value: value}
	return d, ds.t.retry(ctx, func(ctx context.Context) error {
		_, err := ds.t.client().CheckAndMutateRow(ctx, &bigtablepb.CheckAndMutateRowRequest{
			TableName: ds.t.name(), AppProfileId: ds.t.AppProfile, RowKey: key, PredicateFilter: ds.t.cell(string(key)),
			FalseMutations: []*bigtablepb.Mutation{{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: set}}},
		})
		return err
	})
}

// Walk reads many directories at once, breadth first.
func (ds directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) {
		queue := []store.Digest{root}
		seen := map[store.Digest]struct{}{root: {}}
		for len(queue) > 0 {
			asked := queue[:min(len(queue), walkRows)]
			queue = queue[len(asked):]
			found, whole, err := ds.t.read(ctx, asked)
			for _, d := range asked {
				value, ok := found[d]
				switch {
				case err == nil && !ok && whole:
					err = ds.t.absent(d)
				case err == nil && !ok:
					queue = append(queue, d) // the answer was cut off before it
					continue
				}
				named := store.NamedDirectory{Digest: d}
				if err == nil {
					named.Directory, err = ds.t.decode(d, value)
				}
				if !yield(named, err) || err != nil {
					return
				}
				for _, n := range named.Directory {
					if _, ok := seen[n.Digest]; n.Kind == store.KindDirectory && !ok {
						seen[n.Digest] = struct{}{}
						queue = append(queue, n.Digest)
					}
				}
			}
		}
	}
}

func (ds directories) Upload(context.Context) (store.DirectoryWriter, error) {
	if ds.t.ReadOnly {
		return nil, store.ErrReadOnly
	}
	return store.UploadByPut(ds), nil
}
