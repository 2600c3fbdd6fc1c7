package crashfs

import "fmt"

// Kind says what an operation does.
type Kind uint8

// The operations. Those up to SyncDir are changes, and are recorded. Only a hook sees the others.
const (
	Create  Kind = iota // an empty file
	Write               // Len bytes at Off
	Sync                // of a file
	Mkdir               // an empty folder
	Rename              // from Name to To
	Remove              // a file or an empty folder
	SyncDir             // of a folder
	Open                // for reading
	Append              // open to append, which may create
	Read                // Len bytes at Off
	Size
	Map
	Unmap
	Close
	ReadDir
	Stat
	Lock   // take a lock
	Shared // turn it into a shared one
	Unlock
)

var kinds = [...]string{"create", "write", "sync", "mkdir", "rename", "remove", "syncdir", "open", "append", "read",
	"size", "map", "unmap", "close", "readdir", "stat", "lock", "shared", "unlock"}

// String returns the operation in one word.
func (k Kind) String() string { return kinds[k] }

// Op is an operation. If a file was renamed while it was open, Name is the name that it was opened by.
type Op struct {
	Kind   Kind
	Name   string
	To     string // the new name of a Rename
	Off    int64  // of a Read or Write, in bytes
	Len    int    // of a Read or Write, in bytes
	Failed bool   // of a Sync or SyncDir that had an error injected

	id    int // of a change: the file or folder
	dir   int // the folder of Name, if its entries change
	toDir int // the folder of To
	data  []byte
}

// String returns the operation as messages should show it.
func (op Op) String() string {
	s := op.Kind.String() + " " + op.Name
	switch op.Kind {
	case Rename:
		s += " to " + op.To
	case Read, Write:
		s += fmt.Sprintf(" %d+%d", op.Off, op.Len)
	}
	if op.Failed {
		s += " (failed)"
	}
	return s
}

// Short is an error that a hook may return for a write. The write then writes its first N bytes and returns Err.
type Short struct {
	N   int
	Err error
}

// Error returns the reason.
func (s *Short) Error() string { return s.Err.Error() }

// Unwrap returns the reason.
func (s *Short) Unwrap() error { return s.Err }
