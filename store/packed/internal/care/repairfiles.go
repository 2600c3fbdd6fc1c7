package care

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
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// asideDir is where repair puts what is in the way and may still be of use to somebody, such as a symbolic link that
// stands where a pack should be.
const asideDir = "set-aside"

// folders makes those that are missing, and clears tmp/. That of the tags is made when these are restored.
func (r *repair) folders(context.Context) error {
	fsys := r.st.Fs
	for _, dir := range []string{pack.Dir, index.Dir, pack.TempDir, sealed.TagsDir} {
		fi, err := fsys.Stat(dir)
		missing := errors.Is(err, fs.ErrNotExist)
		switch {
		case err != nil && !missing:
			return err
		case missing:
			err = r.remake(dir)
		case fi.Mode().Type() == fs.ModeSymlink:
			err = r.mendLink(dir)
		case !fi.IsDir():
			if err = r.setAside(dir, "not a folder"); err == nil {
				err = r.remake(dir)
			}
		}
		if err != nil {
			return err
		}
	}
	entries, err := fsys.ReadDir(pack.TempDir)
	if err != nil {
		return err
	}
	return r.removeFiles(pack.TempDir, entries)
}

// removeFiles removes what is in a folder, and sets folders aside.
func (r *repair) removeFiles(dir string, entries []fs.DirEntry) (err error) {
	for _, e := range entries {
		if name := path.Join(dir, e.Name()); e.IsDir() {
			err = r.setAside(name, "a folder where there should be none")
		} else {
			err = r.st.Fs.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remake makes a folder that is missing, but for that of the tags. Where nothing can restore what was in it, that is a loss.
func (r *repair) remake(dir string) error {
	r.did(dir, "folder was missing, and is made again")
	switch dir {
	case sealed.TagsDir:
		r.noTags = true
		return nil
	case pack.Dir:
		if len(r.o.Tags) == 0 { // otherwise what tags reach comes from the other store, or is named
			r.result.LostContainers++
		}
	}
	return durable.MkdirAll(r.st.Fs, dir)
}

// setAside moves what is in the way to a folder of its own, durably. Nobody looks at it again.
func (r *repair) setAside(name, why string) error {
	if err := durable.MkdirAll(r.st.Fs, asideDir); err != nil {
		return err
	}
	to := asideDir + "/" + strings.ReplaceAll(name, "/", "-") + "-" + durable.TempName()
	if err := r.st.Fs.Rename(name, to); err != nil {
		return err
	}
	for _, dir := range []string{asideDir, path.Dir(name)} {
		if err := r.st.Fs.SyncDir(dir); err != nil {
			return err
		}
	}
	r.did(name, "%s: moved to %s", why, to)
	return nil
}

// config writes a new config where the old one cannot be read. The store has been opened with one that is new.
func (r *repair) config(context.Context) error {
	_, err := sealed.ReadConfig(r.st.Fs)
	if err == nil {
		return nil
	}
	corrupt := store.IsCorrupt(err)
	fi, serr := r.st.Fs.Stat(sealed.ConfigName)
	if serr == nil && fi.Mode().IsRegular() && !corrupt && !errors.Is(err, syscall.EIO) {
		return err // nothing says that it is damaged
	}
	cfg, how := r.st.Config, "with a new ID and the default parameters"
	if b, ok := r.fileBehind(sealed.ConfigName); ok {
		switch linked, err := sealed.ParseConfig(b); {
		case err == nil:
			cfg, how = linked, "as the link had it"
		case errors.Is(err, store.ErrNewer):
			return fmt.Errorf("%s: %w", r.st.Fs.Path(sealed.ConfigName), err)
		}
	}
	if serr == nil && !fi.Mode().IsRegular() {
		serr = r.setAside(sealed.ConfigName, "not a regular file")
	}
	if serr != nil && !errors.Is(serr, fs.ErrNotExist) {
		return serr
	}
	if err := sealed.WriteConfig(r.st.Fs, cfg); err != nil {
		return err
	}
	r.did(sealed.ConfigName, "%s: made again, %s", reasonOf(err), how)
	return nil
}

// reasonOf returns what is wrong without the place, in words for a person.
func reasonOf(err error) error {
	if !store.IsCorrupt(err) && errors.Is(err, fs.ErrNotExist) {
		return errors.New("missing")
	}
	return causeOf(err)
}

// log drops lines that cannot be read.
func (r *repair) log(ctx context.Context) error {
	fi, err := r.st.Fs.Stat(sealed.LogName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.Mode().IsRegular() {
		if whole, err := r.restoreLog(); !whole {
			return err
		}
	}
	if err != nil {
		return err
	}
	var whole []byte
	dropped := 0
	for l, err := range r.st.Tags().Lines(ctx, sealed.LogName) {
		if store.IsCorrupt(err) {
			dropped++
			r.did(sealed.LogName, "%v: dropped", err)
			continue
		}
		if err != nil {
			return err
		}
		whole = append(append(append(whole, '\n'), l.Text...), '\n')
		r.records = append(r.records, l.Tag)
	}
	if dropped == 0 {
		return nil
	}
	return durable.WriteFile(r.st.Fs, pack.TempPath(durable.TempName()), sealed.LogName, whole)
}

// restoreLog puts what is in the place of the log aside, and reports whether that was a link that led to it.
func (r *repair) restoreLog() (restored bool, err error) {
	b, ok := r.fileBehind(sealed.LogName)
	if err := r.setAside(sealed.LogName, "not a regular file"); err != nil {
		return false, err
	}
	if !ok {
		r.result.LostContainers++
		r.did(sealed.LogName, "lost: nothing says which ingests there were")
		return false, nil
	}
	if err := durable.WriteFile(r.st.Fs, pack.TempPath(durable.TempName()), sealed.LogName, b); err != nil {
		return false, err
	}
	r.did(sealed.LogName, "made again from the file that the link led to")
	return true, nil
}

// tags restores tags that cannot be read, from the log or from what the caller knows. Where the whole folder was lost,
// that is all tags.
func (r *repair) tags(ctx context.Context) error {
	if r.noTags {
		if err := r.tagsFolder(); err != nil {
			return err
		}
	}
	entries, err := r.st.Fs.ReadDir(sealed.TagsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := sealed.TagsDir + "/" + e.Name()
		if strings.HasPrefix(e.Name(), ".") || e.Name() == live.LostName {
			continue
		}
		t, err := r.st.Tags().Read(name)
		if err == nil {
			continue
		}
		if !store.IsCorrupt(err) && e.Type().IsRegular() && t.Name == "" {
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
	name := sealed.TagsDir + "/" + e.Name()
	t, from := r.knownTag(func(t store.Tag) bool { return sealed.TagPath(t.Name) == name })
	if from == "" {
		if err := r.markLost(sealed.TagsDir, "a file that was damaged"); err != nil {
			return err
		}
	}
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
	if err := r.st.Tags().Set(ctx, t); err != nil {
		return err
	}
	return r.restored(t, from)
}

// markLost says durably, in a folder of tags, that tags were lost. What says so already stays as it is.
func (r *repair) markLost(dir, how string) error {
	if _, err := r.st.Tags().ReadLost(); err == nil {
		return r.st.Fs.SyncDir(sealed.TagsDir)
	}
	b, err := live.EncodeLost(how)
	if err != nil {
		return err
	}
	return durable.WriteFile(r.st.Fs, pack.TempPath(durable.TempName()), path.Join(dir, live.LostName), b)
}

// tagsFolder makes the folder of the tags. It gets its name last: were it there before, a repair after this one would
// take it for whole.
func (r *repair) tagsFolder() error {
	fsys, dir := r.st.Fs, pack.TempPath(durable.TempName())
	if err := fsys.Mkdir(dir); err != nil {
		return err
	}
	fill := r.linkedTags
	if len(r.linked) == 0 {
		fill = r.knownTags
	}
	if err := fill(dir); err != nil {
		return err
	}
	if err := fsys.Rename(dir, sealed.TagsDir); err != nil {
		return err
	}
	return fsys.SyncDir(".")
}

// linkedTags fills a new folder of tags with those to which a link in its place led.
func (r *repair) linkedTags(dir string) error {
	for name, b := range r.linked {
		if err := durable.WriteFile(r.st.Fs, pack.TempPath(durable.TempName()), path.Join(dir, name), b); err != nil {
			return err
		}
	}
	r.did(sealed.TagsDir, "%d tags are there again, from the folder that the link led to", len(r.linked))
	return nil
}

// knownTags fills a new folder of tags with those that somebody knows. There may have been others.
func (r *repair) knownTags(dir string) error {
	if err := r.markLost(dir, "the folder was missing"); err != nil {
		return err
	}
	r.result.LostContainers++
	r.did(sealed.TagsDir, "lost: nothing says which tags 'castar tag' had set")
	done := make(map[string]bool)
	for _, t := range slices.Concat(r.records, r.o.Tags) {
		if t.Name == "" || done[t.Name] {
			continue
		}
		done[t.Name] = true
		t, from := r.knownTag(func(o store.Tag) bool { return o.Name == t.Name })
		b, err := record.EncodeTag(record.OneLine, t)
		if err != nil {
			return err
		}
		if err := durable.WriteFile(r.st.Fs, pack.TempPath(durable.TempName()), path.Join(dir, path.Base(sealed.TagPath(t.Name))), b); err != nil {
			return err
		}
		if err := r.restored(t, from); err != nil {
			return err
		}
	}
	return nil
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

func (r *repair) restored(t store.Tag, from string) error {
	d, err := t.Root.RootDigest()
	if err == nil {
		r.did(sealed.TagPath(t.Name), "tag %q points at %s again, as %s has it", t.Name, d, from)
	}
	return err
}

// quarantine forgets what was known to be damaged: none of that is in the index any more, but for what could not be read.
func (r *repair) quarantine(context.Context) error {
	entries, err := r.st.Fs.ReadDir(sealed.QuarantineDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.setAside(sealed.QuarantineDir, err.Error())
	}
	_, _, damage, err := sealed.ReadQuarantine(r.st.Fs)
	if err != nil {
		return err
	}
	for _, err := range damage {
		if store.IsCorrupt(err) {
			r.did(sealed.QuarantineDir, "%v: dropped", err)
		}
	}
	if err := sealed.WriteQuarantine(r.st.Fs, r.unreadable(), nil); err != nil {
		return err
	}
	if err := r.removeFiles(sealed.QuarantineDir, entries); err != nil {
		return err
	}
	r.st.Quarantine.Store(r.unreadable())
	return r.st.Fs.SyncDir(sealed.QuarantineDir)
}
