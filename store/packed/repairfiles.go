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

// folders makes those that are missing, and clears tmp/. That of the tags is made when these are restored.
func (r *repair) folders(context.Context) error {
	fsys := r.st.fs
	for _, dir := range []string{packsDir, indexDir, tmpDir, tagsDir} {
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
		r.did(dir, "folder was missing, and is made again")
		if r.noTags = dir == tagsDir; r.noTags {
			continue
		}
		if err := durable.MkdirAll(fsys, dir); err != nil {
			return err
		}
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
	if r.noTags {
		return r.tagsFolder()
	}
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
		if err := r.mendTag(ctx, e, reasonOf(err).Error()); err != nil {
			return err
		}
	}
	return nil
}

// mendTag replaces a file that is not the tag that it should be. What was there goes only where nothing can replace it: the
// next repair would not know any more that there was a tag.
func (r *repair) mendTag(ctx context.Context, e fs.DirEntry, why string) error {
	name := tagsDir + "/" + e.Name()
	t, from := r.knownTag(func(t store.Tag) bool { return tagPath(t.Name) == name })
	if from == "" || e.IsDir() {
		if err := r.setAside(name, why); err != nil {
			return err
		}
	}
	if from == "" {
		r.result.LostTags++
		r.did(name, "lost: nothing says what it was")
		return nil
	}
	if err := (tags{r.st}).Set(ctx, t); err != nil {
		return err
	}
	return r.restored(t, from)
}

// tagsFolder makes the folder of the tags with all that are known. It gets its name last: were it there before, a repair
// after this one would take it for whole.
func (r *repair) tagsFolder() error {
	fsys, dir := r.st.fs, tmpPath(durable.TempName())
	if err := fsys.Mkdir(dir); err != nil {
		return err
	}
	done := make(map[string]bool)
	for _, t := range slices.Concat(r.records, r.o.Tags) {
		if t.Name == "" || done[t.Name] {
			continue
		}
		done[t.Name] = true
		t, from := r.knownTag(func(o store.Tag) bool { return o.Name == t.Name })
		b, err := encodeTag(t)
		if err != nil {
			return err
		}
		if err := durable.WriteFile(fsys, tmpPath(durable.TempName()), path.Join(dir, path.Base(tagPath(t.Name))), b); err != nil {
			return err
		}
		if err := r.restored(t, from); err != nil {
			return err
		}
	}
	if err := fsys.Rename(dir, tagsDir); err != nil {
		return err
	}
	return fsys.SyncDir(".")
}

// knownTag returns a tag as the log last had it, or as the caller knows it, and who says so.
func (r *repair) knownTag(is func(store.Tag) bool) (t store.Tag, from string) {
	for _, known := range []struct {
		from string
		tags []store.Tag
	}{{"the log", r.records}, {"the other store", r.o.Tags}} {
		for _, t := range slices.Backward(known.tags) {
			if t.Name != "" && is(t) {
				return t, known.from
			}
		}
	}
	return t, ""
}

// restored tells of a tag.
func (r *repair) restored(t store.Tag, from string) error {
	d, err := t.Root.RootDigest()
	if err == nil {
		r.did(tagPath(t.Name), "tag %q points at %s again, as %s has it", t.Name, d, from)
	}
	return err
}

// quarantine forgets what was known to be damaged: none of that is in the index any more, but for what could not be read.
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
	if err := writeQuarantine(r.st.fs, r.unreadable(), nil); err != nil {
		return err
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
	r.st.quarantine.Store(r.unreadable())
	return r.st.fs.SyncDir(quarantineDir)
}
