package objects

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"castar/store"
)

// A closure is one zstd stream of directories. The root comes first, and every other directory after one that refers to
// it. Each is a frame:
//
//	4 bytes   length of the message, big-endian
//	          Directory message
//
// Like tvix and snix, this package writes directories breadth first, and the children of each from last to first. It
// reads any order that obeys the rule above, and takes a directory as often as others refer to it.

// maxFrame is the length of the longest message that is read or written, in bytes. The readers of tvix and snix take up
// to 1,048,576,000.
const maxFrame = store.MaxDirectorySize

// member is a directory of a closure.
type member struct {
	message  []byte
	children []store.Digest // of its directories, in the order of their names
}

func newMember(dir store.Directory) (store.Digest, member, error) {
	message, err := store.EncodeDirectory(dir)
	return store.Sum(message), member{message, children(dir)}, err
}

func children(dir store.Directory) (list []store.Digest) {
	for i := range dir {
		if dir[i].Kind == store.KindDirectory {
			list = append(list, dir[i].Digest)
		}
	}
	return list
}

// order returns root and the directories below it, in the order of a closure. The error is store.ErrNotFound if members
// lacks one.
func order(root store.Digest, members map[store.Digest]member) ([]store.Digest, error) {
	list := []store.Digest{root}
	seen := map[store.Digest]struct{}{root: {}}
	for i := 0; i < len(list); i++ {
		m, ok := members[list[i]]
		if !ok {
			return nil, fmt.Errorf("directory %s of closure %s: %w", list[i], root, store.ErrNotFound)
		}
		for _, d := range slices.Backward(m.children) {
			if _, ok := seen[d]; !ok {
				seen[d] = struct{}{}
				list = append(list, d)
			}
		}
	}
	return list, nil
}

// writeFrames writes messages, none of which is longer than maxFrame.
func writeFrames(w io.Writer, messages [][]byte) error {
	for _, m := range messages {
		head := binary.BigEndian.AppendUint32(nil, uint32(len(m)))
		if _, err := w.Write(head); err != nil {
			return err
		}
		if _, err := w.Write(m); err != nil {
			return err
		}
	}
	return nil
}

// readFrame returns the next message, or io.EOF. It takes no more memory than the stream has bytes, whatever its length
// field claims.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > maxFrame {
		return nil, fmt.Errorf("directory of %d bytes: want at most %d", n, maxFrame)
	}
	var b bytes.Buffer
	b.Grow(int(min(n, 1<<20)))
	_, err := io.CopyN(&b, r, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}

// frame is a directory of a closure, checked.
type frame struct {
	store.NamedDirectory
	message []byte
}

// frames yields the directories of the closure of root, each once and after one that refers to it. Anything else in the
// closure is an error, and so is a damaged stream. Directories that the closure lacks are not an error, because they may
// be elsewhere: frames sets missing to them at the end.
func frames(r io.Reader, root store.Digest, missing *[]store.Digest) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		check := store.NewClosureCheck(root)
		repeats := 0 // how many repeated directories may still come: one for each reference
		for {
			message, err := readFrame(r)
			if err == io.EOF {
				break
			}
			f, again := frame{message: message}, false
			if err == nil {
				f.NamedDirectory, again, err = check.Next(message)
			}
			if again {
				if repeats--; repeats >= 0 {
					continue
				}
				err = errors.New("too many repeated directories")
			}
			if err != nil {
				yield(frame{}, err)
				return
			}
			repeats += len(children(f.Directory))
			if !yield(f, nil) {
				return
			}
		}
		if *missing = check.Missing(); slices.Contains(*missing, root) {
			yield(frame{}, errors.New("closure is empty"))
		}
	}
}

// closure is a closure in memory, checked.
type closure struct {
	messages []byte
	at       map[store.Digest]span // in messages
}

type span struct{ start, end int }

const (
	// maxCached is the length in bytes of the largest closure in which a single directory can be found.
	maxCached = 4 << 30
	// cacheBytes bounds the cached closures, in bytes. The last one used is always kept.
	cacheBytes = 64 << 20
)

// closureCache keeps recently used closures. It reads a closure once for all callers that want it at the same time.
type closureCache struct {
	mu      sync.Mutex
	entries map[store.Digest]*list.Element
	recent  list.List // of *cachedClosure, the most recently used first
	bytes   int
}

type cachedClosure struct {
	root    store.Digest
	loading sync.Mutex
	loaded  *closure
	bytes   int
}

// get returns the closure of root, from the cache or from load. Errors are not cached.
func (c *closureCache) get(root store.Digest, load func() (*closure, error)) (*closure, error) {
	c.mu.Lock()
	e, ok := c.entries[root]
	if ok {
		c.recent.MoveToFront(e)
	} else {
		e = c.recent.PushFront(&cachedClosure{root: root})
		c.entries[root] = e
	}
	c.mu.Unlock()
	entry := e.Value.(*cachedClosure)
	entry.loading.Lock()
	defer entry.loading.Unlock()
	if entry.loaded != nil {
		return entry.loaded, nil
	}
	var err error
	entry.loaded, err = load()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.entries[root] != e: // dropped since
	case err != nil:
		c.drop(e)
	default:
		entry.bytes = len(entry.loaded.messages) + len(entry.loaded.at)*2*store.DigestSize
		c.bytes += entry.bytes
		for c.bytes > cacheBytes && c.recent.Len() > 1 {
			c.drop(c.recent.Back())
		}
	}
	return entry.loaded, err
}

// drop removes an entry. The caller holds mu.
func (c *closureCache) drop(e *list.Element) {
	entry := c.recent.Remove(e).(*cachedClosure)
	delete(c.entries, entry.root)
	c.bytes -= entry.bytes
}
