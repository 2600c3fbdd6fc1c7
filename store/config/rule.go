package config

import (
	"cmp"
	"context"

	"castar/store"
)

// SizeRule returns the size rule of the store that spec names, or of the store that Open would make. It reads only the
// config of a packed store in a folder, and opens one in a bucket.
func SizeRule(ctx context.Context, spec string, o Options) (store.SizeRule, error) {
	e, err := parse(spec)
	if err != nil {
		return 0, err
	}
	return e.directories.sizeRule(ctx, o)
}

// sizeRule returns the parameter of a store. Without one it returns the rule of the part that decides, or of a packed store
// its own.
func (n *node) sizeRule(ctx context.Context, o Options) (store.SizeRule, error) {
	if rule := n.kind.rule(); rule != nil {
		return *rule, nil
	}
	uses := n.kind.uses()
	for i, part := range n.parts {
		if uses[i].rule {
			return part.sizeRule(ctx, o)
		}
	}
	if k, ok := n.kind.(*packedKind); ok {
		return k.sizeRule(ctx, o)
	}
	return store.SizeDocumented, nil
}

// ruleOr returns the size rule of the key, or else of a URL.
func (k *ruled) ruleOr(text string) *store.SizeRule {
	_, rule, _ := cutRule(text)
	return cmp.Or(k.Rule, rule)
}

// ruleKey is the parameter of tables and URLs for the rule by which sizes of directories are counted.
const ruleKey = "size_rule"

func setRule(to **store.SizeRule) func(string) error {
	return func(s string) error {
		rule, err := store.ParseSizeRule(s)
		*to = &rule
		return err
	}
}

// cutRule cuts the size rule off the query of a URL. The rule is nil if there is none.
func cutRule(text string) (rest string, rule *store.SizeRule, err error) {
	rest, err = cutParameter(text, ruleKey, setRule(&rule))
	return rest, rule, err
}
