package export

import (
	"cmp"
	"sync"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// loan is the write permission that the owner of a directory gets for as long as an export needs it.
type loan struct {
	mu    sync.Mutex
	asked bool
	taken bool
	mode  uint32 // without the loan
}

// borrow makes d writable until giveBack, if it belongs to the caller and is not writable. A directory of another user
// stays as it is, and the change to it fails. borrow may be called concurrently.
func (d *dir) borrow() error {
	d.loan.mu.Lock()
	defer d.loan.mu.Unlock()
	if d.loan.asked {
		return nil
	}
	st, err := d.stat()
	if err != nil {
		return err
	}
	d.loan.asked = true
	if st.Mode&0o200 != 0 || !owns(&st) || d.writable() == nil {
		return nil
	}
	if err := d.chmod(permissions(&st) | 0o200); err != nil {
		return err
	}
	d.loan.taken, d.loan.mode = true, permissions(&st)
	return nil
}

// giveBack undoes borrow. It returns err, or if err is nil its own error.
func (d *dir) giveBack(err error) error {
	d.loan.mu.Lock()
	defer d.loan.mu.Unlock()
	if d.loan.taken {
		err = cmp.Or(err, d.chmod(d.loan.mode))
	}
	d.loan.asked, d.loan.taken = false, false
	return err
}

// mayChange returns nil if the entries of d can be changed, perhaps after borrow, and otherwise the reason.
func (d *dir) mayChange() error {
	err := d.writable()
	if err != unix.EACCES {
		return err
	}
	st, serr := d.stat()
	if serr == nil && owns(&st) && st.Mode&0o500 == 0o500 {
		return nil
	}
	return err
}

// writable returns nil if the entries of d can be changed without borrow, and otherwise the reason.
func (d *dir) writable() error {
	return posix.Retry(func() error { return unix.Faccessat(d.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
}

// owns reports whether the caller owns the entry that st describes.
func owns(st *unix.Stat_t) bool { return st.Uid == uint32(unix.Geteuid()) }
