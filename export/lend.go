package export

import (
	"sync"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// loan is the write bit that a directory's owner gets for as long as an export needs it.
type loan struct {
	mu    sync.Mutex
	asked bool
	taken bool
	mode  uint32 // before that
}

// borrow makes sure that the caller may change the entries of d: where d is its own and not writable it gets the write
// bit, until giveBack. What is another user's is left as it is, for the change itself to fail. It may be called
// concurrently.
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

// giveBack ends what borrow began. It returns err, or else what goes wrong.
func (d *dir) giveBack(err error) error {
	d.loan.mu.Lock()
	defer d.loan.mu.Unlock()
	if d.loan.taken {
		if cerr := d.chmod(d.loan.mode); err == nil {
			err = cerr
		}
	}
	d.loan.asked, d.loan.taken = false, false
	return err
}

// mayChange returns why the entries of d cannot be changed, not even after borrow, or nil.
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

// writable returns why the entries of d cannot be changed as it stands, or nil.
func (d *dir) writable() error {
	return posix.Retry(func() error { return unix.Faccessat(d.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
}

// owns reports whether the caller is the owner of what st describes.
func owns(st *unix.Stat_t) bool { return st.Uid == uint32(unix.Geteuid()) }
