package bigtable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/retry"
)

// attempts is how often a call is tried if the service cannot be reached or does not answer in time.
const attempts = 4

// retry makes a call, up to attempts times, each time with the configured timeout.
func (t *tableClient) retry(ctx context.Context, call func(context.Context) error) error {
	policy := retry.Policy{Tries: attempts, First: 75 * time.Millisecond, Timeout: t.Timeout}
	passes := func(err error) bool {
		return slices.Contains([]codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Aborted}, status.Code(err))
	}
	err := policy.Do(ctx, passes, func(ctx context.Context) error { return call(t.routed(ctx)) })
	if err == nil || ctx.Err() != nil {
		return err
	}
	return t.failure(err)
}

// failure returns an error of the service as an error of the table, and also of the server if that cannot be reached or
// does not know the caller. It never matches ErrNotFound: a missing table does not mean that a directory is missing.
func (t *tableClient) failure(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("%s: %w", t.where(), err)
	}
	server := t.where() + " at " + t.conns[0].Target()
	switch s.Code() {
	case codes.DeadlineExceeded:
		return &store.ServerError{Server: server, Err: fmt.Errorf("no answer in %v, %d times", t.Timeout, attempts)}
	case codes.Unavailable, codes.Unauthenticated:
		return &store.ServerError{Server: server, Err: errors.New(plain(s.Message()))}
	}
	return fmt.Errorf("%s: %s", t.where(), s.Message())
}

// plain returns why a connection failed, without the words of gRPC before the reason.
func plain(text string) string {
	for _, before := range []string{`desc = "`, "transport: ", "Error while dialing: ", "record lookup error: ", "connect: "} {
		if _, reason, ok := strings.Cut(text, before); ok {
			text = reason
		}
	}
	return strings.TrimSuffix(text, `"`)
}

// read returns the values of the rows that exist. It cuts off an answer that is too long; whole is then false.
func (t *tableClient) read(ctx context.Context, rows []store.Digest) (found map[store.Digest][]byte, whole bool, err error) {
	keys := make([][]byte, len(rows))
	for i, d := range rows {
		keys[i] = []byte(d.String())
	}
	slices.SortFunc(keys, bytes.Compare)
	column := ""
	if len(keys) == 1 {
		column = string(keys[0])
	}
	req := &bigtablepb.ReadRowsRequest{
		TableName: t.name(), AppProfileId: t.AppProfile, Rows: &bigtablepb.RowSet{RowKeys: keys}, Filter: t.cell(column),
	}
	err = t.retry(ctx, func(ctx context.Context) (err error) {
		found, whole, err = t.readOnce(ctx, req)
		return err
	})
	return found, whole, err
}

func (t *tableClient) readOnce(ctx context.Context, req *bigtablepb.ReadRowsRequest) (map[store.Digest][]byte, bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := t.client().ReadRows(ctx, req)
	if err != nil {
		return nil, false, err
	}
	found, total := map[store.Digest][]byte{}, 0
	m := merger{row: func(key string, value []byte) {
		if d, err := store.ParseDigest(key); err == nil {
			found[d] = value
			total += len(value)
		}
	}}
	for total < t.most {
		resp, err := stream.Recv()
		if err == io.EOF {
			return found, true, m.end()
		}
		if err != nil {
			return nil, false, err
		}
		for _, chunk := range resp.GetChunks() {
			if err := m.add(chunk); err != nil {
				return nil, false, err
			}
		}
	}
	return found, false, nil
}

// merger assembles rows from the chunks of an answer. A chunk has the fields that differ from the previous chunk, and a
// part of a value. It is the last part unless it gives the length of the whole value. A row counts once it is
// committed.
type merger struct {
	row func(key string, value []byte) // called for every row that has a column of its own name

	key    string // of the current row, or ""
	column string
	value  []byte // of the current cell
	within bool   // the current cell is not complete
	found  []byte // the value in the column of the row's name
	has    bool   // found is set
}

var errProtocol = errors.New("invalid answer")

func (m *merger) add(c *bigtablepb.ReadRowsResponse_CellChunk) error {
	if c.GetResetRow() {
		*m = merger{row: m.row}
		return nil
	}
	if key := string(c.GetRowKey()); key != "" && key != m.key {
		if m.key != "" {
			return fmt.Errorf("%w: row %q is not ended", errProtocol, m.key)
		}
		m.key = key
	}
	if q := c.GetQualifier(); q != nil {
		m.column = string(q.GetValue())
	}
	if m.key == "" {
		return fmt.Errorf("%w: a cell without a row", errProtocol)
	}
	if !m.within {
		m.within, m.value = true, nil
	}
	if len(m.value)+len(c.GetValue()) > maxCell || c.GetValueSize() > maxCell {
		return fmt.Errorf("row %q: a value of more than %d bytes", m.key, maxCell)
	}
	m.value = append(m.value, c.GetValue()...)
	if c.GetValueSize() == 0 {
		m.within = false
		if m.column == m.key && !m.has { // the latest version is first
			m.found, m.has = m.value, true
		}
	}
	if !c.GetCommitRow() {
		return nil
	}
	if m.within {
		return fmt.Errorf("%w: row %q ends within a value", errProtocol, m.key)
	}
	if m.has {
		m.row(m.key, m.found)
	}
	*m = merger{row: m.row}
	return nil
}

func (m *merger) end() error {
	if m.key != "" {
		return fmt.Errorf("%w: ends within row %q", errProtocol, m.key)
	}
	return nil
}
