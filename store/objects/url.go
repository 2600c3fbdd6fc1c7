package objects

import (
	"context"

	"castar/store"
	"castar/store/bucket/service"
	"castar/store/chunk"
	"castar/store/meter"
)

// URLOptions say how to open the store that a URL names. The zero value opens a store that exists.
type URLOptions struct {
	Create       bool              // make the folder of a file: store if it does not exist; buckets are never made
	ReadOnly     bool              // refuse writes
	AvgChunkSize int               // see Options
	Settings     map[string]string // more settings, as in the query; a key in both is an error
	Meter        *meter.Meter      // of services in a network; may be nil
}

// OpenURL opens the store that a URL names:
//
//	objectstore+file:/path, objectstore+file:///path   a folder
//	objectstore+memory:, objectstore+memory:///        a new, empty store, gone with the process
//	objectstore+s3://bucket/path                       S3
//	objectstore+http://host/path, objectstore+https://user:password@host/path
//	                                                   an HTTP server; to list or write it must speak WebDAV
//	objectstore+gs://bucket/path, objectstore+az://container/path
//	                                                   Google's and Azure's services, in programs built with the
//	                                                   tag cloud
//
// "objectstore+" may be left out. OpenURL reads only the parts shown here; package config refuses URLs with others. For
// the settings in the query see service.Locate.
//
// The error is store.ErrNoStore if there is no such store. The ID of the store depends only on where it is.
func OpenURL(ctx context.Context, raw string, o URLOptions) (*store.Store, error) {
	l, err := service.Locate(raw, o.Settings)
	if err != nil {
		return nil, err
	}
	b, err := l.Open(ctx, service.OpenOptions{Own: ownPrefix, Create: o.Create && !o.ReadOnly, Meter: o.Meter})
	if err != nil {
		return nil, err
	}
	options := Options{ReadOnly: o.ReadOnly, AvgChunkSize: o.AvgChunkSize, ListPage: l.ListPage}
	if l.ID != "" {
		options.ID = "objects-" + l.ID
	}
	if l.Far {
		options.Concurrency = 32
	}
	return Open(ctx, b, options)
}

// CheckURL returns the error that OpenURL would return for the URL, its settings or the length of chunks, as far as that
// can be known without opening anything.
func CheckURL(raw string, o URLOptions) error {
	if o.AvgChunkSize != 0 {
		if _, err := chunk.ParamsFor(o.AvgChunkSize); err != nil {
			return err
		}
	}
	_, err := service.Locate(raw, o.Settings)
	return err
}
