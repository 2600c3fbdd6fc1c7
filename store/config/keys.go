package config

import (
	"fmt"
	"reflect"

	"github.com/BurntSushi/toml"

	"castar/store"
)

// keys returns the keys that a table of this kind may have, but for the type.
func keys(k kind) (names []string) {
	for name := range fields(k) {
		names = append(names, name)
	}
	return names
}

// fields yields the keys of a kind, and the fields with their values.
func fields(k kind) func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		v := reflect.ValueOf(k).Elem()
		for i := range v.NumField() {
			if tag := v.Type().Field(i).Tag.Get("toml"); tag != "" && tag != "-" && !yield(tag, v.Field(i)) {
				return
			}
		}
	}
}

// checkTypes reports a value in the table at path that is of another type than its key wants. The library would say less
// of it, or take anything for a table.
func checkTypes(meta toml.MetaData, path []string, k kind) error {
	for key, v := range fields(k) {
		got := meta.Type(append(path[:len(path):len(path)], key)...)
		var want, types string
		switch v.Interface().(type) {
		case seconds:
			continue // it reads more than one type
		case *store.SizeRule:
			continue // it says itself what it wants
		case string:
			want, types = "String", "text in quotes"
		case bool:
			want, types = "Bool", "true or false"
		case int, int64:
			want, types = "Integer", "a whole number"
		case map[string]string:
			want, types = "Hash", "a table"
		}
		if got != "" && got != want {
			return fmt.Errorf("%s: want %s", key, types)
		}
	}
	return nil
}

// checkValues reports a key in the table at path whose value is there and says nothing.
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
