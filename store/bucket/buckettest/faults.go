package buckettest

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
)

// Faults stands between client and server, and makes requests fail at random.
type Faults struct {
	Server http.Handler

	mu    sync.Mutex
	kinds []func(f *Faults, w http.ResponseWriter, r *http.Request)
	rate  float64 // part of the requests that fail
	rnd   *rand.Rand
	hits  int
}

// NewFaults returns faults of some kinds, none of which happens before Set.
func NewFaults(seed uint64, kinds ...string) *Faults {
	f := &Faults{rnd: rand.New(rand.NewPCG(seed, 0))}
	for _, kind := range kinds {
		f.kinds = append(f.kinds, faults()[kind])
	}
	return f
}

// Count returns how many requests have failed.
func (f *Faults) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// Set sets the part of the requests that fail, and returns what it was.
func (f *Faults) Set(rate float64) (before float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, f.rate = f.rate, rate
	return before
}

// Answer makes all faults an answer with a status, instead of the kinds that were given.
func (f *Faults) Answer(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kinds = []func(*Faults, http.ResponseWriter, *http.Request){
		func(_ *Faults, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) },
	}
}

// ServeHTTP answers as Server does, or with a fault.
func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	serve := f.Server.ServeHTTP
	if f.rnd.Float64() < f.rate {
		f.hits++
		kind := f.kinds[f.rnd.IntN(len(f.kinds))]
		serve = func(w http.ResponseWriter, r *http.Request) { kind(f, w, r) }
	}
	f.mu.Unlock()
	serve(w, r)
}

// Kinds returns the kinds of faults, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(faults())) }

// faults are the ways in which services and networks fail.
func faults() map[string]func(f *Faults, w http.ResponseWriter, r *http.Request) {
	return map[string]func(f *Faults, w http.ResponseWriter, r *http.Request){
		"status 500": func(_ *Faults, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"slow down": func(_ *Faults, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
		},
		"no answer": func(_ *Faults, _ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // otherwise the server does not notice that the client is gone
			<-r.Context().Done()
		},
		"body stalled":     stallBody,
		"page of HTML":     func(_ *Faults, w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK) },
		"page of an error": func(_ *Faults, w http.ResponseWriter, _ *http.Request) { page(w, http.StatusBadGateway) },
		"cut before":       func(_ *Faults, w http.ResponseWriter, _ *http.Request) { hangUp(w, nil, nil) },
		"cut after": func(f *Faults, w http.ResponseWriter, r *http.Request) {
			f.Server.ServeHTTP(httptest.NewRecorder(), r)
			hangUp(w, nil, nil)
		},
		"body cut by the connection": func(f *Faults, w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			f.Server.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if r.Method == http.MethodHead {
				body = nil
			}
			hangUp(w, rec, body[:len(body)/2])
		},
		"body cut by a proxy": func(f *Faults, w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			f.Server.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if r.Method == http.MethodGet && rec.Code < 300 {
				body = body[:len(body)/2]
			}
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(rec.Code)
			w.Write(body)
		},
		"upload cut": func(f *Faults, w http.ResponseWriter, r *http.Request) {
			r.Body = io.NopCloser(io.LimitReader(r.Body, r.ContentLength/2))
			f.Server.ServeHTTP(w, r)
		},
	}
}

// stallBody answers with half of the body, and then waits for the client to give up.
func stallBody(f *Faults, w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	f.Server.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	if r.Method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
	}
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	if half := rec.Body.Len() / 2; half < rec.Body.Len() && r.Method != http.MethodHead {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// Stalls reports whether a kind of fault shows only by a timeout.
func Stalls(kind string) bool { return kind == "no answer" || kind == "body stalled" }

// page answers with a page as something between client and server sends it, whose clock is wrong besides.
func page(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("ETag", `"etag"`)
	w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
	w.Header().Set("Date", "Wed, 21 Oct 2065 07:28:00 GMT")
	w.WriteHeader(status)
	io.WriteString(w, "<html><body>please log in</body></html>")
}

// hangUp ends the connection, after the head of the answer and some of its body if there is an answer.
func hangUp(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if answer != nil {
		// A client that is told so does not send its next request into this connection.
		fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n", answer.Code, answer.Body.Len())
		for k, v := range answer.Header() {
			if k != "Content-Length" {
				fmt.Fprintf(conn, "%s: %s\r\n", k, v[0])
			}
		}
		fmt.Fprintf(conn, "\r\n%s", body)
	}
}
