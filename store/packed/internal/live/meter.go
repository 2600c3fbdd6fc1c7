package live

import "sync/atomic"

// meter implements store.Meter.
type meter struct{ contents, stored atomic.Uint64 }

// Added implements store.Meter.
func (m *meter) Added() (contents, stored uint64) { return m.contents.Load(), m.stored.Load() }
