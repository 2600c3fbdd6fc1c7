package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"castar/export"
	"castar/store"
	"castar/store/tree"
)

const (
	// longFile is the size from which a file takes one of the slots for downloads, in bytes.
	longFile = 1 << 20
	// maxRanges is how many ranges of a file a client may ask for at once; of more, it gets all of it.
	maxRanges = 16
	// sampleSize is how much of a file tells what it is, in bytes.
	sampleSize = 4 << 10
)

func (h *Handler) file(w *answer, r *http.Request, t *target, download bool) error {
	if t.node.Size > longFile {
		if err := h.downloads.take(r.Context(), clientOf(r)); err != nil {
			return err
		}
		defer h.downloads.give(clientOf(r))
	}
	b, err := h.openFile(r.Context(), t.node)
	if err != nil {
		return store.About("blob", t.node.Digest, err)
	}
	defer b.Close()
	kind, shown, err := kindOf(b)
	if err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", kind)
	head.Set("Content-Disposition", disposition(shown && !download, t.name()))
	head.Set("Content-Security-Policy", storedPolicy)
	head.Set("Etag", `"`+t.node.Digest.String()+`"`)
	h.setImmutable(w)
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges || len(r.Header.Values("Range")) > 1 {
		r.Header.Del("Range")
	}
	return send(w, r, b)
}

// openFile opens the contents of a file, if the store keeps any.
func (h *Handler) openFile(ctx context.Context, n store.Node) (store.Blob, error) {
	if h.st.Blobs == nil {
		return nil, store.ErrUnsupported
	}
	return tree.OpenFile(ctx, h.st, n)
}

// send sends a blob, or the parts of it that were asked for. After an error, the connection must break. Only bytes that
// were checked are sent, chunk by chunk. Blob.WriteTo is faster, but it checks the whole as it ends. Then clients that
// resume a broken download would keep the damage.
func send(w *answer, r *http.Request, b store.Blob) error {
	watched := &watched{Blob: b}
	http.ServeContent(w, r, "", time.Time{}, watched)
	return watched.err
}

// watched remembers why a blob could not be read. Package http does not tell.
type watched struct {
	store.Blob
	err error
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.Blob.Read(p)
	if err != nil && err != io.EOF && b.err == nil {
		b.err = err
	}
	return n, err
}

// kindOf returns the media type of a blob, and whether a browser may show it. Nothing that a browser could run is shown
// as what it is. The blob is at its beginning before and after.
func kindOf(b store.Blob) (kind string, shown bool, err error) {
	sample := make([]byte, sampleSize)
	n, err := io.ReadFull(b, sample)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", false, err
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return "", false, err
	}
	sample = sample[:n]
	switch kind := http.DetectContentType(sample); kind {
	case "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/x-icon":
		return kind, true, nil
	}
	if isText(sample, n == sampleSize) {
		return "text/plain; charset=utf-8", true, nil
	}
	return "application/octet-stream", false, nil
}

// isText reports whether a sample is UTF-8 without control characters that text does not have. If it is cut, its last
// character may be unfinished.
func isText(sample []byte, cut bool) bool {
	for len(sample) > 0 {
		r, size := utf8.DecodeRune(sample)
		switch {
		case r == utf8.RuneError && size == 1:
			return cut && !utf8.FullRune(sample)
		case r < ' ' && !strings.ContainsRune("\t\n\v\f\r\b\x1b", r):
			return false
		}
		sample = sample[size:]
	}
	return true
}

// disposition returns the header with the name of a file: once in ASCII, with an underscore for every other character,
// for old clients, and once in full.
func disposition(inline bool, name string) string {
	kind := "attachment"
	if inline {
		kind = "inline"
	}
	var plain, whole strings.Builder
	for _, r := range name {
		if r == utf8.RuneError || !store.IsPlain(r) || r == '/' || r == '\\' {
			r = '_'
		}
		switch {
		case r >= utf8.RuneSelf:
			plain.WriteByte('_')
		case isToken(r) || r == ' ':
			plain.WriteRune(r)
		default:
			plain.WriteByte('_')
		}
		for _, c := range []byte(string(r)) {
			if isToken(rune(c)) {
				whole.WriteByte(c)
			} else {
				fmt.Fprintf(&whole, "%%%02X", c)
			}
		}
	}
	return fmt.Sprintf(`%s; filename="%s"; filename*=UTF-8''%s`, kind, plain.String(), whole.String())
}

// isToken reports whether a character stands for itself in both forms of a name (attr-char in RFC 8187).
func isToken(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r != 0 && strings.ContainsRune("!#$&+-.^_`|~", r)
}

// archives returns the formats of archives that are offered.
func archives() []export.Format {
	return []export.Format{export.FormatTar, export.FormatZip, export.FormatNAR}
}

// archiveKind returns the media type of an archive, or "" if there is no such format.
func archiveKind(format export.Format) string {
	switch format {
	case export.FormatTar:
		return "application/x-tar"
	case export.FormatZip:
		return "application/zip"
	case export.FormatNAR:
		return "application/x-nix-nar"
	}
	return ""
}

func (h *Handler) archive(w *answer, r *http.Request, t *target, format export.Format) error {
	kind := archiveKind(format)
	if kind == "" {
		return fail(http.StatusNotFound, "There is no such archive. The formats are tar, zip and nar.")
	}
	head := w.Header()
	etag := `"` + t.node.Digest.String() + "." + string(format) + `"`
	inside := ""
	if t.node.Kind != store.KindDirectory {
		inside, etag = t.name(), ""
	}
	head.Set("Content-Type", kind)
	head.Set("Content-Disposition", disposition(false, t.name()+"."+string(format)))
	head.Set("Content-Security-Policy", storedPolicy)
	h.setImmutable(w)
	if etag != "" {
		head.Set("Etag", etag)
		if strings.Contains(r.Header.Get("If-None-Match"), etag) || r.Header.Get("If-None-Match") == "*" {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := h.downloads.take(r.Context(), clientOf(r)); err != nil {
		return err
	}
	defer h.downloads.give(clientOf(r))
	root := t.node
	root.Name = ""
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	return h.archiver(ctx, root, w, export.ArchiveOptions{Format: format, Name: inside})
}
