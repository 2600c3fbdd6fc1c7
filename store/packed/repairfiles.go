package packed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"castar/store"
	"castar/store/durable"
)

// asideDir is where repair puts what is in the way and may still be of use to somebody, such as a symbolic link that
// stands where a pack should be.
const asideDir = "set-aside"

// folders makes those that are missing, and clears tmp/.
func (r *repair) folders(context.Context) error {
	fsys := r.st.fs
	for _, dir := range []string{packsDir, indexDir, tagsDir, tmpDir} {
		fi, err := fsys.Stat(dir)
		if err == nil && fi.IsDir() {
			continue
		}
		if err == nil {
			err = r.setAside(dir, "not a folder")
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := durable.MkdirAll(fsys, dir); err != nil {
			return err
		}
		r.noTags = r.noTags || dir == tagsDir
		r.did(dir, "folder was missing, and is made again")
	}
	entries, err := fsys.ReadDir(tmpDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			err = r.setAside(tmpPath(e.Name()), "a folder where there should be none")
		} else {
			err = fsys.Remove(tmpPath(e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setAside moves what is in the way to a folder of its own, durably. Nobody looks at it again.
func (r *repair) setAside(name, why string) error {
	if err := durable.MkdirAll(r.st.fs, asideDir); err != nil {
		return err
	}
	to := asideDir + "/" + strings.ReplaceAll(name, "/", "-") + "-" + durable.TempName()
	if err := r.st.fs.Rename(name, to); err != nil {
		return err
	}
	for _, dir := range []string{asideDir, path.Dir(name)} {
		if err := r.st.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	r.did(name, "%s: moved to %s", why, to)
	return nil
}

// config writes the config anew where it cannot be read. The store has been opened with one that is new.
func (r *repair) config(context.Context) error {
	_, err := readConfig(r.st.fs)
	if err == nil {
		return nil
	}
	_, corrupt := errors.AsType[*store.CorruptError](err)
	fi, serr := r.st.fs.Stat(configName)
	if serr == nil && fi.Mode().IsRegular() && !corrupt && !errors.Is(err, syscall.EIO) {
		return err // nothing says that it is damaged
	}
	if serr == nil && !fi.Mode().IsRegular() {
		serr = r.setAside(configName, "not a regular file")
	}
	if serr != nil && !errors.Is(serr, fs.ErrNotExist) {
		return serr
	}
	if err := writeConfig(r.st.fs, r.st.config); err != nil {
		return err
	}
	r.did(configName, "%s: made anew, with a new ID and the default parameters", reasonOf(err))
	return nil
}

// reasonOf returns what is wrong without the place.
func reasonOf(err error) error {
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		return c.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("missing")
	}
	return err
}

// log drops lines that cannot be read.
func (r *repair) log(ctx context.Context) error {
	fi, err := r.st.fs.Stat(logName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.Mode().IsRegular() {
		return r.setAside(logName, "not a regular file")
	}
	if err != nil {
		return err
	}
	var whole []byte
	dropped := 0
	for t, err := range (tags{r.st}).Log(ctx) {
		if _, ok := errors.AsType[*store.CorruptError](err); ok {
			dropped++
			r.did(logName, "%v: dropped", err)
			continue
		}
		if err != nil {
			return err
		}
		line, err := encodeTag(t)
		if err != nil {
			return err
		}
		whole = append(append(whole, '\n'), line...)
		r.records = append(r.records, t)
	}
	if dropped == 0 {
		return nil
	}
	return durable.WriteFile(r.st.fs, tmpPath(durable.TempName()), logName, whole)
}

// tags restores tags that cannot be read, from the log or from what the caller knows. Where the whole folder was lost,
// that is all tags.
func (r *repair) tags(ctx context.Context) error {
	entries, err := r.st.fs.ReadDir(tagsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := tagsDir + "/" + e.Name()
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		t, err := tags{r.st}.read(name)
		if err == nil && tagPath(t.Name) == name {
			continue
		}
		if err == nil {
			err = fmt.Errorf("names tag %q, which is not its own", t.Name)
		}
		if _, ok := errors.AsType[*store.CorruptError](err); !ok && e.Type().IsRegular() && t.Name == "" {
			return err // not damage: it cannot be read now
		}
		if err := r.setAside(name, reasonOf(err).Error()); err != nil {
			return err
		}
		if err := r.restoreTag(ctx, func(t store.Tag) bool { return tagPath(t.Name) == name }, name); err != nil {
			return err
		}
	}
	if !r.noTags {
		return nil
	}
	for _, t := range slices.Concat(r.records, r.o.Tags) {
		if _, err := (tags{r.st}).Get(ctx, t.Name); t.Name == "" || !store.IsNotFound(err) {
			continue
		}
		if err := r.restoreTag(ctx, func(o store.Tag) bool { return o.Name == t.Name }, tagPath(t.Name)); err != nil {
			return err
		}
	}
	return nil
}

// restoreTag sets a tag as the log last had it, or as the caller knows it.
func (r *repair) restoreTag(ctx context.Context, is func(store.Tag) bool, name string) error {
	for _, from := range []struct {
		what string
		tags []store.Tag
	}{{"the log", r.records}, {"the other store", r.o.Tags}} {
		for _, t := range slices.Backward(from.tags) {
			if t.Name == "" || !is(t) {
				continue
			}
			d, err := t.Root.RootDigest()
			if err != nil {
				return err
			}
			r.did(name, "tag %q points at %s again, as %s has it", t.Name, d, from.what)
			return tags{r.st}.Set(ctx, t)
		}
	}
	r.result.LostTags++
	r.did(name, "lost: nothing says what it was")
	return nil
}

// quarantine forgets what was known to be damaged: none of that is in the index any more.
func (r *repair) quarantine(context.Context) error {
	entries, err := r.st.fs.ReadDir(quarantineDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.setAside(quarantineDir, err.Error())
	}
	_, _, damage, err := readQuarantine(r.st.fs)
	if err != nil {
		return err
	}
	for _, err := range damage {
		if _, ok := errors.AsType[*store.CorruptError](err); ok {
			r.did(quarantineDir, "%v: dropped", err)
		}
	}
	for _, e := range entries {
		name := quarantineDir + "/" + e.Name()
		if e.IsDir() {
			err = r.setAside(name, "a folder where there should be none")
		} else {
			err = r.st.fs.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	r.st.quarantine.Store(nil)
	return r.st.fs.SyncDir(quarantineDir)
}
