package tree

import (
	"context"
	"slices"

	"castar/store"
)

// SizeRule tells by which rule the sizes of directories below root are counted. It takes the first directory that has
// something in it as a sample, and does not check whether all follow the rule. The rule is not known if no directory
// below root has something in it, or if the sample follows neither rule.
func SizeRule(ctx context.Context, ds store.Directories, root store.Node) (rule store.SizeRule, known bool, err error) {
	if root.Kind != store.KindDirectory {
		return 0, false, nil
	}
	dir, err := getDirectory(ctx, ds, rootTrail(""), root.Digest)
	if err != nil {
		return 0, false, err
	}
	return sizeRule(ctx, ds, dir)
}

// sizeRule is SizeRule for the root dir.
func sizeRule(ctx context.Context, ds store.Directories, dir store.Directory) (rule store.SizeRule, known bool, err error) {
	sample := slices.IndexFunc(dir, func(n store.Node) bool { return n.Kind == store.KindDirectory && n.Size > 0 })
	if sample < 0 {
		return 0, false, nil
	}
	below, err := getDirectory(ctx, ds, rootTrail("").child(dir[sample].Name), dir[sample].Digest)
	if err != nil || len(below) == 0 {
		return 0, false, err
	}
	rule, known = ruleOf(below, dir[sample].Size)
	return rule, known, nil
}

// ruleOf returns the rule by which dir has a size.
func ruleOf(dir store.Directory, size uint64) (store.SizeRule, bool) {
	for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
		if got, err := dir.Size(rule); err == nil && got == size {
			return rule, true
		}
	}
	return 0, false
}

// CountEntries returns how many entries a tree has below its root. It trusts the sizes that directories record by
// rule.
func CountEntries(ctx context.Context, ds store.Directories, root store.Node, rule store.SizeRule) (uint64, error) {
	if root.Kind != store.KindDirectory {
		return 0, nil
	}
	dir, err := getDirectory(ctx, ds, rootTrail(""), root.Digest)
	if err != nil {
		return 0, err
	}
	size, err := dir.Size(rule)
	if rule == store.SizeSnix {
		size /= 2
	}
	return size, err
}
