package objects

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"castar/store"
)

// A closure is one zstd stream of directories, root first, each after one that refers to it:
//
//	4 bytes   length of what follows, big-endian
//	          Directory message
//
// tvix and snix write them breadth first, the children of a directory from its last to its first; so does this package.
// Any other order that is as above is accepted, and so is a directory that comes more than once, as often as it is
// referred to.

// maxFrame is the longest message that is read or written, in bytes. The readers of tvix and snix take 1,048,576,000.
const maxFrame = store.MaxDirectorySize

// member is a directory of a closure.
type member struct {
	message  []byte
	children []store.Digest // those of its directories, in the order of their names
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

// order returns the digests of all that are below root, root included, in the order of a closure. One that is not in
// members is an error that is store.ErrNotFound.
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

// writeClosure writes the members of list, in that order.
func writeClosure(w io.Writer, list []store.Digest, members map[store.Digest]member) error {
	for _, d := range list {
		if err := writeFrame(w, members[d].message); err != nil {
			return err
		}
	}
	return nil
}

// closureSize returns how many bytes writeClosure writes.
func closureSize(list []store.Digest, members map[store.Digest]member) (n int) {
	for _, d := range list {
		n += 4 + len(members[d].message)
	}
	return n
}

func writeFrame(w io.Writer, message []byte) error {
	if len(message) > maxFrame {
		return fmt.Errorf("directory of %d bytes: want at most %d", len(message), maxFrame)
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(message)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(message)
	return err
}

// readFrame returns the next message, or io.EOF. It takes no more memory than there are bytes.
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

// frame is a directory as a closure has it, and checked.
type frame struct {
	digest  store.Digest
	message []byte
	dir     store.Directory
}

// frames yields the directories of the closure of root, each once, and each after one that refers to it. Anything else
// in it is an error, as is what is wrong with the stream. Directories that it lacks are no error: missing has them in
// the end, for they may be elsewhere.
func frames(r io.Reader, root store.Digest, missing *[]store.Digest) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		wanted := map[store.Digest]bool{root: false} // those that were referred to, and whether they came
		repeats := 0                                 // how many more may come that came before: one for each reference
		for {
			message, err := readFrame(r)
			if err == io.EOF {
				break
			}
			if err != nil {
				yield(frame{}, err)
				return
			}
			d := store.Sum(message)
			came, ok := wanted[d]
			if !ok {
				yield(frame{}, fmt.Errorf("has directory %s, to which nothing before it refers", d))
				return
			}
			if came {
				if repeats--; repeats < 0 {
					yield(frame{}, errors.New("repeats itself"))
					return
				}
				continue
			}
			dir, err := store.DecodeDirectory(message)
			if err != nil {
				yield(frame{}, store.About("directory", d, err))
				return
			}
			wanted[d] = true
			for _, child := range children(dir) {
				repeats++
				if _, ok := wanted[child]; !ok {
					wanted[child] = false
				}
			}
			if !yield(frame{d, message, dir}, nil) {
				return
			}
		}
		if !wanted[root] {
			yield(frame{}, errors.New("is empty"))
			return
		}
		for d, came := range wanted {
			if !came {
				*missing = append(*missing, d)
			}
		}
	}
}
