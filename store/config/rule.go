package config

import (
	"context"
	"fmt"
	"strings"

	"castar/store"
	"castar/store/packed"
)

// SizeRule returns the size rule of the store that spec names, or of the one that Open would make there. It opens nothing
// but the config of a packed store.
func SizeRule(spec string) (store.SizeRule, error) {
	e, err := parse(spec)
	if err != nil {
		return 0, err
	}
	return e.directories.sizeRule()
}

// sizeRule returns the parameter of a store; where that has none, the rule of the store it is made of that decides; and
// of a packed store its own.
func (n *node) sizeRule() (store.SizeRule, error) {
	if rule := n.kind.rule(); rule != nil {
		return *rule, nil
	}
	uses := n.kind.uses()
	for i, part := range n.parts {
		if uses[i].rule {
			return part.sizeRule()
		}
	}
	if k, ok := n.kind.(*packedKind); ok {
		return packed.SizeRule(k.Path)
	}
	return store.SizeDocumented, nil
}

// Init makes the packed store that spec names, which counts sizes by rule, or where that is nil by the rule that a
// composition file gives it. That there is a store already is an error, and so is any other kind of store, which is made
// by what is put into it and keeps nothing about itself.
func Init(ctx context.Context, spec string, rule *store.SizeRule) error {
	e, err := parse(spec)
	if err != nil {
		return err
	}
	k, ok := e.directories.kind.(*packedKind)
	if !ok || e.blobs != e.directories {
		return fmt.Errorf("store %s: only a packed store has to be made: %w", quoteSpec(spec), store.ErrUnsupported)
	}
	if rule != nil {
		k.Rule = rule
	}
	st, err := k.open(ctx, Options{Create: true, New: true, Wait: -1}, nil)
	if err != nil {
		return err
	}
	return st.Close()
}

// ruleKey is the parameter, of tables and URLs, that says by which rule the sizes of directories are counted.
const ruleKey = "size_rule"

func setRule(to **store.SizeRule) func(string) error {
	return func(s string) error {
		rule, err := store.ParseSizeRule(s)
		*to = &rule
		return err
	}
}

// cutRule takes the size rule off the query of a URL. It returns nil where there is none.
func cutRule(text string) (rest string, rule *store.SizeRule, err error) {
	rest, query, _ := strings.Cut(text, "?")
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		value, ok := strings.CutPrefix(pair, ruleKey+"=")
		switch {
		case ok && rule != nil:
			return text, nil, fmt.Errorf("parameter %q is given twice", ruleKey)
		case ok:
			if err := setRule(&rule)(value); err != nil {
				return text, nil, fmt.Errorf("parameter %q: %w", ruleKey, err)
			}
		case pair != "":
			kept = append(kept, pair)
		}
	}
	if len(kept) > 0 {
		rest += "?" + strings.Join(kept, "&")
	}
	return rest, rule, nil
}
