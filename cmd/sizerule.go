package cmd

import (
	"context"
	"errors"

	"castar/store"
	"castar/store/config"
)

// sizeRule returns the rule that was given, or else the rule of the store. A dry run, whose st is nil, asks the store that
// would be used, if it exists.
func (e *env) sizeRule(ctx context.Context, f *ingestFlags, st *store.Store) (store.SizeRule, error) {
	switch {
	case f.rule != nil:
		return *f.rule, nil
	case st != nil:
		return st.SizeRule, nil
	}
	spec, err := e.storeSpec()
	if err != nil {
		return store.SizeDocumented, nil
	}
	rule, err := config.SizeRule(ctx, spec, e.making(config.Options{}))
	if errors.Is(err, store.ErrNoStore) {
		return store.SizeDocumented, nil
	}
	if err != nil {
		err = &failure{err: err, status: statusOf(err), hint: "with --size-rule, the store is not needed"}
	}
	return rule, err
}

// explainRefusal returns the error of an ingest or a copy. If a server counts sizes by another rule, it blames some
// directory; any other would fail too, so the directory is not worth naming.
func explainRefusal(err error, rule store.SizeRule) error {
	refused, ok := errors.AsType[*store.SizeRuleError](err)
	if !ok || rule == store.SizeSnix {
		return err
	}
	return &failure{err: refused, status: statusFailed, hint: "--size-rule snix counts sizes of directories as tvix and snix do"}
}
