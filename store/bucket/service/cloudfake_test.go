//go:build cloud

package service_test

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fakeObjects is what the servers here hold: one bucket.
type fakeObjects struct {
	mu      sync.Mutex
	objects map[string]fakeObject
	last    int // version
}

type fakeObject struct {
	data     []byte
	version  int // never 0
	modified time.Time
}

func newFakeObjects() fakeObjects { return fakeObjects{objects: map[string]fakeObject{}} }

func (f *fakeObjects) get(name string) (fakeObject, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.objects[name]
	return o, ok
}

// put stores an object if may says so of the version of the one that there is, which is 0 if there is none.
func (f *fakeObjects) put(name string, data []byte, may func(version int) bool) (fakeObject, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !may(f.objects[name].version) {
		return fakeObject{}, false
	}
	f.last++
	f.objects[name] = fakeObject{data, f.last, time.Now()}
	return f.objects[name], true
}

func (f *fakeObjects) delete(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.objects[name]
	delete(f.objects, name)
	return ok
}

// names returns the names that begin with prefix, sorted.
func (f *fakeObjects) names(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Sorted(maps.Keys(f.objects))
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

// sentWell reports whether a client has sent the digest of an object with it. PutLarge sends none.
func sentWell(name string, data []byte, digest string) bool {
	sum := md5.Sum(data)
	return digest == base64.StdEncoding.EncodeToString(sum[:]) || digest == "" && strings.Contains(name, "/large/")
}

// fakeGoogle speaks as much of the API of Google's service as castar needs.
type fakeGoogle struct{ fakeObjects }

func (g *fakeGoogle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const list = "/storage/v1/b/b/o"
	name, isObject := strings.CutPrefix(r.URL.Path, list+"/")
	media, isMedia := strings.CutPrefix(r.URL.Path, "/b/")
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/upload"+list:
		g.upload(w, r)
	case isObject && r.Method == http.MethodDelete && g.delete(name):
		w.WriteHeader(http.StatusNoContent)
	case isObject && r.Method == http.MethodGet:
		if o, ok := g.get(name); ok {
			json.NewEncoder(w).Encode(googleObject(name, o))
			return
		}
		http.NotFound(w, r)
	case r.URL.Path == list:
		items := []any{}
		for _, name := range g.names(r.URL.Query().Get("prefix")) {
			o, _ := g.get(name)
			items = append(items, googleObject(name, o))
		}
		json.NewEncoder(w).Encode(map[string]any{"items": items})
	case isMedia:
		o, ok := g.get(media)
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("X-Goog-Generation", strconv.Itoa(o.version))
		http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.data))
	default:
		http.NotFound(w, r)
	}
}

func googleObject(name string, o fakeObject) map[string]any {
	return map[string]any{
		"name": name, "bucket": "b", "size": strconv.Itoa(len(o.data)), "generation": strconv.Itoa(o.version),
		"metageneration": "1", "updated": o.modified.UTC().Format(time.RFC3339Nano),
	}
}

// upload takes an object of which the first part of the request tells the name.
func (g *fakeGoogle) upload(w http.ResponseWriter, r *http.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	parts := multipart.NewReader(r.Body, params["boundary"])
	var meta struct{ Name, MD5Hash string }
	var data []byte
	for _, read := range []func(io.Reader) error{
		func(p io.Reader) error { return json.NewDecoder(p).Decode(&meta) },
		func(p io.Reader) (err error) { data, err = io.ReadAll(p); return err },
	} {
		var part *multipart.Part
		if err == nil {
			part, err = parts.NextPart()
		}
		if err == nil {
			err = read(part)
		}
	}
	if err != nil || !sentWell(meta.Name, data, meta.MD5Hash) {
		http.Error(w, fmt.Sprintf("%v, digest %q", err, meta.MD5Hash), http.StatusBadRequest)
		return
	}
	want := r.URL.Query().Get("ifGenerationMatch")
	o, ok := g.put(meta.Name, data, func(version int) bool { return want == "" || want == strconv.Itoa(version) })
	if !ok {
		http.Error(w, "conditionNotMet", http.StatusPreconditionFailed)
		return
	}
	json.NewEncoder(w).Encode(googleObject(meta.Name, o))
}

// fakeAzure speaks as much of the API of Azure's service as castar needs.
type fakeAzure struct{ fakeObjects }

func (a *fakeAzure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code string) {
		w.Header().Set("X-Ms-Error-Code", code)
		w.WriteHeader(status)
	}
	const container = "/account/b"
	name := strings.TrimPrefix(r.URL.Path, container+"/")
	o, ok := a.get(name)
	switch {
	case r.URL.Query().Get("comp") == "list":
		a.list(w, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodPut:
		data, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("X-Ms-Blob-Type") != "BlockBlob" || !sentWell(name, data, r.Header.Get("X-Ms-Blob-Content-Md5")) {
			refuse(http.StatusBadRequest, "InvalidInput")
			return
		}
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		o, ok := a.put(name, data, func(version int) bool {
			return (match == "" || match == azureTag(version)) && (none == "" || version == 0)
		})
		switch {
		case ok:
			o.head(w)
			w.WriteHeader(http.StatusCreated)
		case none != "":
			refuse(http.StatusConflict, "BlobAlreadyExists")
		default:
			refuse(http.StatusPreconditionFailed, "ConditionNotMet")
		}
	case !ok:
		refuse(http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodDelete:
		a.delete(name)
		w.WriteHeader(http.StatusAccepted)
	default:
		o.head(w)
		r.Header.Set("Range", cmp.Or(r.Header.Get("X-Ms-Range"), r.Header.Get("Range")))
		http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.data))
	}
}

func azureTag(version int) string { return fmt.Sprintf("%q", strconv.Itoa(version)) }

func (o fakeObject) head(w http.ResponseWriter) {
	w.Header().Set("ETag", azureTag(o.version))
	w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Ms-Blob-Type", "BlockBlob")
	w.Header().Set("X-Ms-Creation-Time", o.modified.UTC().Format(http.TimeFormat))
}

func (a *fakeAzure) list(w http.ResponseWriter, prefix string) {
	type properties struct {
		Modified string `xml:"Last-Modified"`
		Tag      string `xml:"Etag"`
		Length   int    `xml:"Content-Length"`
		Type     string `xml:"BlobType"`
	}
	type listed struct {
		Name       string
		Properties properties
	}
	var answer struct {
		XMLName xml.Name `xml:"EnumerationResults"`
		Blobs   struct{ Blob []listed }
	}
	for _, name := range a.names(prefix) {
		o, _ := a.get(name)
		answer.Blobs.Blob = append(answer.Blobs.Blob, listed{name, properties{
			o.modified.UTC().Format(http.TimeFormat), azureTag(o.version), len(o.data), "BlockBlob",
		}})
	}
	w.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(w).Encode(answer)
}
