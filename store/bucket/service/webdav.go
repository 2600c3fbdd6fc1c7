package service

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	// propfindBody asks for the contents of a folder.
	propfindBody = `<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>`
	// maxPropfind is the length of the longest answer that is read, in bytes: about half a million names.
	maxPropfind = 256 << 20
)

// readFolder returns the names in a folder, for listFolders.
func (h *httpBucket) readFolder(ctx context.Context, folder string) ([]string, error) {
	const propfind = "PROPFIND"
	path := h.base.Path + folder
	answer, err := h.send(ctx, propfind, path, []byte(propfindBody), "Depth", "1", "Content-Type", "application/xml")
	if err != nil {
		return nil, err
	}
	defer discard(answer)
	switch code := answer.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone:
		return nil, nil
	case code >= 200 && code < 300 && code != http.StatusMultiStatus:
		return nil, h.ignored(propfind, path)
	case code != http.StatusMultiStatus:
		return nil, h.statusError(propfind, path, code)
	}
	limited := &io.LimitedReader{R: answer.Body, N: maxPropfind}
	resources, err := parseMultistatus(limited)
	switch {
	case err == nil:
	case limited.N == 0:
		return nil, fmt.Errorf("%s: %s: answer of more than %d bytes", h.where(path), propfind, maxPropfind)
	default:
		return nil, h.broken(ctx, propfind, path, err)
	}
	var names []string
	for _, r := range resources {
		name, err := r.name(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: the server %w", h.where(path), propfind, err)
		}
		if name != "" {
			names = append(names, folder+name)
		}
	}
	return names, nil
}

// resource describes one object or folder.
type resource struct {
	Href    string     `xml:"href"`
	Folders []struct{} `xml:"propstat>prop>resourcetype>collection"` // empty for an object
}

// parseMultistatus reads the answer to a PROPFIND. An answer that was cut short is an error.
func parseMultistatus(r io.Reader) ([]resource, error) {
	var answer struct {
		XMLName   xml.Name   `xml:"multistatus"`
		Resources []resource `xml:"response"`
	}
	err := xml.NewDecoder(r).Decode(&answer)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return answer.Resources, err
}

// name returns the name in the folder at path, or "" for the folder itself.
func (r resource) name(path string) (string, error) {
	u, err := url.Parse(r.Href)
	if err != nil {
		return "", fmt.Errorf("lists %q, which is not a URL", r.Href)
	}
	if u.Path+"/" == path {
		return "", nil
	}
	name, below := strings.CutPrefix(u.Path, path)
	name = strings.TrimSuffix(name, "/")
	if !below || name == "." || name == ".." || strings.Contains(name, "/") {
		return "", fmt.Errorf("lists %q, which is not in the folder", r.Href)
	}
	if len(r.Folders) > 0 && name != "" {
		name += "/"
	}
	return name, nil
}
