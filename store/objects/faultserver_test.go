package objects

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
)

// faults stands between client and server, and makes requests fail at random.
type faults struct {
	server http.Handler
	kinds  []func(f *faults, w http.ResponseWriter, r *http.Request)

	mu   sync.Mutex
	rate float64 // part of the requests that fail
	rnd  *rand.Rand
	hits int
}

func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

func (f *faults) set(rate float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = rate
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	serve := f.server.ServeHTTP
	if f.rnd.Float64() < f.rate {
		f.hits++
		kind := f.kinds[f.rnd.IntN(len(f.kinds))]
		serve = func(w http.ResponseWriter, r *http.Request) { kind(f, w, r) }
	}
	f.mu.Unlock()
	serve(w, r)
}

// allFaults are the ways in which services and networks fail.
var allFaults = map[string]func(f *faults, w http.ResponseWriter, r *http.Request){
	"status 500": func(_ *faults, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	"slow down": func(_ *faults, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
	},
	"no answer": func(_ *faults, _ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // otherwise the server does not notice that the client is gone
		<-r.Context().Done()
	},
	"cut before": func(_ *faults, w http.ResponseWriter, _ *http.Request) { hangUp(w, nil, nil) },
	"cut after": func(f *faults, w http.ResponseWriter, r *http.Request) {
		f.server.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w, nil, nil)
	},
	"body cut by the connection": func(f *faults, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		f.server.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if r.Method == http.MethodHead {
			body = nil
		}
		hangUp(w, rec, body[:len(body)/2])
	},
	"body cut by a proxy": func(f *faults, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		f.server.ServeHTTP(rec, r)
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
	"upload cut": func(f *faults, w http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(io.LimitReader(r.Body, r.ContentLength/2))
		f.server.ServeHTTP(w, r)
	},
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
