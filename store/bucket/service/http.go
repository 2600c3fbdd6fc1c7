package service

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"castar/store"
	"castar/store/bucket"
	"castar/store/retry"
	"castar/store/traffic"
)

// HTTPConfig says where on an HTTP server the objects are, and as which user to ask for them.
type HTTPConfig struct {
	// URL is the http or https URL of the folder that holds all objects. It may have the user and password of basic
	// authentication.
	URL       *url.URL
	UserAgent string         // "castar" if empty
	Retry     retry.Policy   // how calls are repeated; zero means about a minute
	Meter     *traffic.Meter // of all connections; may be nil
}

// httpBucket is a folder of an HTTP server. Reading takes GET and HEAD, which any server has. Listing takes WebDAV's
// PROPFIND, and storing takes PUT, DELETE and MKCOL. An acknowledged object counts as durable.
//
// Objects are put under their own names, as tvix and snix do. Servers such as Apache and nginx hold back an object until
// it is complete. With a server that does not, readers may see half an object, and it stays half if both the connection
// and this program break. Verify reports such objects.
type httpBucket struct {
	bucket.DurablePuts
	bucket.NoUploads
	bucket.LocalClock
	client *http.Client
	base   url.URL // ends with a slash, has no user
	user   *url.Userinfo
	agent  string
	policy retry.Policy // for each request of Put and List
}

// OpenHTTP returns the Bucket that c describes. It asks the server once, and returns an error if there is no answer.
// Calls that fail for a reason that may go away are repeated. Put makes missing folders. Only reads follow redirects, and
// never to another host or away from TLS.
func OpenHTTP(ctx context.Context, c HTTPConfig) (bucket.Bucket, error) {
	c.Retry = cmp.Or(c.Retry, servicePolicy())
	b := newHTTP(c)
	if err := firstPolicy(c.Retry).Do(ctx, isPassing, b.reach); err != nil {
		b.Close()
		return nil, err
	}
	// A call that takes requests for many folders would hardly ever succeed as a whole if some of them fail.
	return retrying{b, b.policy, list | put | putLarge}, nil
}

func newHTTP(c HTTPConfig) *httpBucket {
	t := transport(http.DefaultTransport.(*http.Transport).Clone(), c.Retry, c.Meter)
	return &httpBucket{
		client: &http.Client{Transport: t, CheckRedirect: checkRedirect},
		base: url.URL{
			Scheme: c.URL.Scheme, Host: c.URL.Host, Path: strings.TrimSuffix(path.Clean("/"+c.URL.Path), "/") + "/",
		},
		user: c.URL.User, agent: cmp.Or(c.UserAgent, "castar"), policy: meteredPolicy(c.Retry, c.Meter),
	}
}

// checkRedirect makes the client return a redirect that it must not follow as its answer.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > 5, next.URL.Host != first.URL.Host, first.URL.Scheme == "https" && next.URL.Scheme != "https",
		first.Method != http.MethodGet && first.Method != http.MethodHead, next.Method != first.Method:
		return http.ErrUseLastResponse
	}
	return nil
}

func (h *httpBucket) String() string { return strings.TrimSuffix(h.base.String(), "/") }

// send sends a request for an absolute path of the server. The header has names and values in turn. The caller ends the
// answer with discard.
func (h *httpBucket) send(
	ctx context.Context, method, path string, body []byte, header ...string,
) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, h.where(path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", h.agent)
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	if h.user != nil {
		password, _ := h.user.Password()
		r.SetBasicAuth(h.user.Username(), password)
	}
	answer, err := h.client.Do(r)
	if err != nil {
		return nil, h.broken(ctx, method, path, err)
	}
	return answer, nil
}

func (h *httpBucket) status(ctx context.Context, method, path string, body []byte, header ...string) (int, error) {
	answer, err := h.send(ctx, method, path, body, header...)
	if err != nil {
		return 0, err
	}
	discard(answer)
	return answer.StatusCode, nil
}

// discard ends an answer. It reads a short rest, so that the connection can be used again.
func discard(answer *http.Response) {
	io.CopyN(io.Discard, answer.Body, 64<<10) // an error costs only the connection
	answer.Body.Close()
}

// broken returns the error for a request without an answer, or for an answer that broke off.
func (h *httpBucket) broken(ctx context.Context, method, path string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // leaves out method and URL
	}
	if ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", method, err)
	}
	return failed(ctx, h.String(), h.where(path), err, !isFinal(err))
}

// statusError returns the error for an answer whose status is not that of success.
func (h *httpBucket) statusError(method, path string, code int) error {
	err := fmt.Errorf("%s: %s: status %d %s", h.where(path), method, code, http.StatusText(code))
	switch {
	case code == http.StatusNotImplemented, code == http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %w", err, store.ErrUnsupported)
	case isPassingStatus(code):
		return &bucket.Unavailable{Err: err}
	case code >= 300 && code < 400:
		return fmt.Errorf("%w: redirect not followed", err)
	}
	return err
}

// absent is like statusError, for a request about an object that may not exist.
func (h *httpBucket) absent(method, path string, code int) error {
	if code == http.StatusNotFound || code == http.StatusGone {
		return fmt.Errorf("%s: %w", h.where(path), store.ErrNotFound)
	}
	return h.statusError(method, path, code)
}

func (h *httpBucket) where(path string) string {
	u := h.base
	u.Path = path
	return u.String()
}

// reach returns an error if the server does not answer, or does not know the user. It ignores what the answer says of the
// folder, because file servers differ in that.
func (h *httpBucket) reach(ctx context.Context) error {
	code, err := h.status(ctx, http.MethodHead, h.base.Path, nil)
	if err == nil && (code == http.StatusUnauthorized || code >= 500) {
		err = h.statusError(http.MethodHead, h.base.Path, code)
	}
	if errors.Is(err, store.ErrUnsupported) {
		return nil
	}
	return err
}

// A server without ranges sends the whole object, and Get skips what comes before offset.
func (h *httpBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	path := h.base.Path + name
	answer, err := h.send(ctx, http.MethodGet, path, nil, "Range", fmt.Sprintf("bytes=%d-%d", offset, offset+n-1),
		"Accept-Encoding", "identity")
	if err != nil {
		return nil, err
	}
	defer discard(answer)
	want := int64(-1) // unknown
	switch answer.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, nil // the object ends at or before offset
	case http.StatusPartialContent:
		if want, err = rangeLength(answer.Header.Get("Content-Range"), offset, n); err != nil {
			return nil, fmt.Errorf("%s: %w", h.where(path), err)
		}
	case http.StatusOK:
		if _, err := io.CopyN(io.Discard, answer.Body, offset); err == io.EOF {
			return nil, nil
		} else if err != nil {
			return nil, h.broken(ctx, http.MethodGet, path, err)
		}
	default:
		return nil, h.absent(http.MethodGet, path, answer.StatusCode)
	}
	b, err := readMost(answer.Body, n, answer.ContentLength)
	if err == nil && want >= 0 && int64(len(b)) != want {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, h.broken(ctx, http.MethodGet, path, err)
	}
	return b, nil
}

// rangeLength returns the number of bytes in the answer to a request for n bytes at offset. The answer's Content-Range is
// header.
func rangeLength(header string, offset, n int64) (int64, error) {
	var first, last int64
	_, err := fmt.Sscanf(header, "bytes %d-%d/", &first, &last)
	if err != nil || first != offset || last < first || last-first >= n {
		return 0, fmt.Errorf("the server sent the range %q, want %d bytes at offset %d", header, n, offset)
	}
	return last - first + 1, nil
}

// A page of HTML is not an object: some servers send one for any missing object.
func (h *httpBucket) Head(ctx context.Context, name string) (int64, error) {
	path := h.base.Path + name
	answer, err := h.send(ctx, http.MethodHead, path, nil, "Accept-Encoding", "identity")
	if err != nil {
		return 0, err
	}
	discard(answer)
	switch {
	case answer.StatusCode != http.StatusOK:
		return 0, h.absent(http.MethodHead, path, answer.StatusCode)
	case isPage(answer.Header):
		return 0, fmt.Errorf("%s: %w", h.where(path), errPage)
	case answer.ContentLength < 0:
		return 0, fmt.Errorf("%s: the server does not report the length", h.where(path))
	}
	return answer.ContentLength, nil
}

// errNoFolder says that there is no folder for a new object or folder.
var errNoFolder = errors.New("no such folder")

// Put makes missing folders.
func (h *httpBucket) Put(ctx context.Context, name string, data []byte) error {
	at := h.base.Path + name
	return h.inFolder(ctx, at, func(ctx context.Context) error { return h.put(ctx, at, data) })
}

func (h *httpBucket) PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	data, err := bucket.ReadWhole(r, size)
	if err != nil {
		return err
	}
	return h.Put(ctx, name, data)
}

// Load and PutIf are unsupported, because few servers of files take conditions seriously.
func (h *httpBucket) Load(_ context.Context, name string) ([]byte, bucket.Version, error) {
	return nil, "", fmt.Errorf("%s: conditional writes to HTTP servers: %w", h.where(h.base.Path+name), store.ErrUnsupported)
}

func (h *httpBucket) PutIf(ctx context.Context, name string, _ []byte, _ bucket.Version) (bucket.Version, error) {
	_, _, err := h.Load(ctx, name)
	return "", err
}

// inFolder repeats a call that makes an object or folder at an absolute path. If its error is errNoFolder, inFolder makes
// the folder above and starts over.
func (h *httpBucket) inFolder(ctx context.Context, at string, call func(context.Context) error) error {
	err := h.policy.Do(ctx, isPassing, call)
	if errors.Is(err, errNoFolder) && at != "/" {
		if err = h.makeFolder(ctx, path.Dir(at)); err == nil {
			err = h.policy.Do(ctx, isPassing, call)
		}
	}
	return err
}

func (h *httpBucket) put(ctx context.Context, at string, data []byte) error {
	code, err := h.status(ctx, http.MethodPut, at, data, "Content-Type", "application/octet-stream")
	switch {
	case err != nil:
		return err
	case code == http.StatusCreated, code == http.StatusNoContent:
		return nil
	case code == http.StatusOK: // the answer of some file servers to any request
		got, err := h.Get(ctx, strings.TrimPrefix(at, h.base.Path), 0, int64(len(data))+1)
		if err == nil && !bytes.Equal(got, data) {
			err = h.ignored(http.MethodPut, at)
		}
		return err
	}
	return h.notMade(http.MethodPut, at, code)
}

// makeFolder makes the folder at an absolute path of the server, and missing folders above it.
func (h *httpBucket) makeFolder(ctx context.Context, at string) error {
	const mkcol = "MKCOL"
	folder := strings.TrimSuffix(at, "/") + "/"
	return h.inFolder(ctx, at, func(ctx context.Context) error {
		code, err := h.status(ctx, mkcol, folder, nil)
		switch {
		case err != nil:
			return err
		case code == http.StatusCreated, code == http.StatusMethodNotAllowed: // made, or it exists
			return nil
		case code == http.StatusOK:
			return h.ignored(mkcol, folder)
		}
		return h.notMade(mkcol, folder, code)
	})
}

// notMade is like statusError, for a request to make an object or a folder.
func (h *httpBucket) notMade(method, path string, code int) error {
	err := h.statusError(method, path, code)
	if code == http.StatusConflict || code == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", err, errNoFolder)
	}
	return err
}

// ignored returns the error for a server that ignores the method and answers as if to a GET.
func (h *httpBucket) ignored(method, path string) error {
	return fmt.Errorf("%s: %s: the server ignores this method: %w", h.where(path), method, store.ErrUnsupported)
}

func (h *httpBucket) Delete(ctx context.Context, name string) error {
	path := h.base.Path + name
	code, err := h.status(ctx, http.MethodDelete, path, nil)
	switch {
	case err != nil || code == http.StatusNoContent:
		return err
	case code == http.StatusOK: // perhaps ignored: see put
		if _, err = h.Head(ctx, name); err == nil {
			err = h.ignored(http.MethodDelete, path)
		} else if store.IsNotFound(err) {
			err = nil
		}
		return err
	}
	return h.absent(http.MethodDelete, path, code)
}

func (h *httpBucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Object, error] {
	return bucket.ListFolders(ctx, prefix, after, func(ctx context.Context, folder string) (names []string, err error) {
		err = h.policy.Do(ctx, isPassing, func(ctx context.Context) error {
			names, err = h.readFolder(ctx, folder)
			return err
		})
		return names, err
	})
}

func (h *httpBucket) Close() error {
	h.client.CloseIdleConnections()
	return nil
}
