package crashfs

// change is a change of names: id loses a name, gets one, or both.
type change struct {
	kind     Kind
	id       int
	isDir    bool // of a Rename
	dir      int  // the folder in which id loses name, or -1
	name     string
	unlinked fate
	toDir    int // the folder in which id gets the name to, or -1
	to       string
	linked   fate
}

func newChange(op Op, isDir bool) change {
	c := change{kind: op.Kind, id: op.id, isDir: isDir, dir: -1, toDir: -1, unlinked: settled, linked: settled}
	if op.Kind == Rename || op.Kind == Remove {
		c.dir, c.name, c.unlinked = op.dir, op.Name, pending
	}
	switch op.Kind {
	case Create, Mkdir:
		c.toDir, c.to, c.linked = op.dir, op.Name, pending
	case Rename:
		c.toDir, c.to, c.linked = op.toDir, op.To, pending
	}
	return c
}

// ways returns the number of outcomes of the change, which is 1 if it is on disk. A renamed file can have both names if
// neither folder is synced, or only that of the new name.
func (c *change) ways() int {
	switch {
	case c.linked == settled && c.unlinked == settled:
		return 1
	case c.kind == Rename && !c.isDir && c.linked != settled && c.unlinked != settled:
		return 3
	case c.kind == Rename && c.isDir && c.linked == settled:
		return 1
	}
	return 2
}

// apply makes the change in t, or the part of it that choose selects.
func (c *change) apply(t *tree, choose func(n int) int) {
	link, unlink := true, true
	if n := c.ways(); n > 1 {
		way := choose(n)
		unlink = way == n-1
		link = unlink || way == 1 || c.kind == Rename && c.linked == settled
	}
	if unlink && c.dir >= 0 {
		c.unlink(t)
	}
	if link && c.toDir >= 0 {
		t.link(c.toDir, c.to, c.id)
	}
}

// unlink removes the old name. A folder loses all its names, because an earlier rename of it may have been lost.
func (c *change) unlink(t *tree) {
	t.unlink(c.dir, c.name)
	if c.kind != Rename || !c.isDir {
		return
	}
	for dir, n := range t.nodes {
		for name, id := range n.entries {
			if id == c.id {
				t.unlink(dir, name)
			}
		}
	}
}

// apply does the write to file id in t, or the part of it that choose selects.
func (w lateWrite) apply(t *tree, id int, choose func(n int) int) {
	if w.fate == settled {
		t.write(id, w.off, w.data)
		return
	}
	end := w.off + int64(len(w.data))
	longer := end > int64(len(t.nodes[id].data))
	sectors, bytes := w.cuts()

	// The outcomes, from nothing to all. An outcome with cuts is done at one of them.
	type outcome struct {
		cuts []int
		do   func(cut int)
	}
	outcomes := []outcome{{do: func(int) {}}}
	if longer {
		outcomes = append(outcomes, outcome{do: func(int) { t.extend(id, end) }})
	}
	if len(bytes) > 0 {
		outcomes = append(outcomes, outcome{bytes, func(cut int) { t.write(id, w.off, w.data[:cut]) }})
	}
	if len(sectors) > 0 {
		outcomes = append(outcomes, outcome{sectors, func(cut int) { t.write(id, w.off+int64(cut), w.data[cut:]) }})
	}
	if len(sectors) > 0 && longer {
		outcomes = append(outcomes, outcome{sectors, func(cut int) {
			t.write(id, w.off, w.data[:cut])
			t.extend(id, end)
		}})
	}
	outcomes = append(outcomes, outcome{do: func(int) { t.write(id, w.off, w.data) }})

	o, cut := outcomes[choose(len(outcomes))], 0
	if len(o.cuts) > 0 {
		cut = o.cuts[choose(len(o.cuts))]
	}
	o.do(cut)
}

// cuts returns the offsets at which the write may be cut in two: sectors between sectors of the disk, and bytes where
// the first part alone may survive. In a write no longer than a sector, that is any byte.
func (w lateWrite) cuts() (sectors, bytes []int) {
	for cut := sector - int(w.off%sector); cut < len(w.data); cut += sector {
		sectors = append(sectors, cut)
	}
	if len(w.data) > sector {
		return sectors, sectors
	}
	for cut := 1; cut < len(w.data); cut++ {
		bytes = append(bytes, cut)
	}
	return sectors, bytes
}
