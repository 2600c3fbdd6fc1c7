package ingest

// step is a moment of a walk at which a test may change the tree.
type step int

const (
	stepListed step = iota // after the names in a directory were read
	stepFound              // after an entry was described, before it is stored
	stepOpened             // after a file was opened, before it is read
	stepRead               // after a file was read
)

func (w *walker) hook(s step, at *place) {
	if w.o.hook != nil {
		w.o.hook(s, at.path())
	}
}
