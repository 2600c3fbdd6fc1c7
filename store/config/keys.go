package config

import (
	"fmt"
	"iter"
	"reflect"

	"github.com/BurntSushi/toml"
)

// keys returns the keys that a table of this kind may have, except for type.
func keys(k kind) (names []string) {
	for name := range fields(k) {
		names = append(names, name)
	}
	return names
}

// fields yields the keys of a kind, and the fields with their values.
func fields(k kind) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		v := reflect.ValueOf(k).Elem()
		for _, f := range reflect.VisibleFields(v.Type()) {
			if tag := f.Tag.Get("toml"); tag != "" && tag != "-" && !yield(tag, v.FieldByIndex(f.Index)) {
				return
			}
		}
	}
}

// checkTypes reports a value of the wrong type in the table at path. The library says less about it, and would accept
// anything for a table.
func checkTypes(meta toml.MetaData, path []string, k kind) error {
	types := map[reflect.Kind][2]string{
		reflect.String: {"String", "text in quotes"}, reflect.Bool: {"Bool", "true or false"}, reflect.Map: {"Hash", "a table"},
		reflect.Int: {"Integer", "a whole number"}, reflect.Int64: {"Integer", "a whole number"},
	} // a size rule checks itself
	for key, v := range fields(k) {
		got, want := meta.Type(append(path[:len(path):len(path)], key)...), types[v.Kind()]
		if _, several := v.Interface().(seconds); got != "" && want[0] != "" && got != want[0] && !several {
			return fmt.Errorf("%s: want %s", key, want[1])
		}
	}
	return nil
}

// checkValues reports an empty text or a number below 1 in the table at path.
func checkValues(meta toml.MetaData, path []string, k kind) error {
	for key, v := range fields(k) {
		if !meta.IsDefined(append(path[:len(path):len(path)], key)...) {
			continue
		}
		switch v := v.Interface().(type) {
		case string:
			if v == "" {
				return fmt.Errorf("%s: has no value", key)
			}
		case int:
			if v < 1 {
				return fmt.Errorf("%s: want a whole number from 1 on, not %d", key, v)
			}
		}
	}
	return nil
}
