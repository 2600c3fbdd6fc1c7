package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// openListeners opens what systemd passes, and the addresses, or the default if there is nothing and noDefault is not
// set. If one cannot be opened, it closes all.
func openListeners(addresses []string, noDefault bool) ([]net.Listener, error) {
	all, err := passedListeners()
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 && len(all) == 0 && !noDefault {
		l, address, err := listenDefault(listen)
		if err != nil {
			return nil, fmt.Errorf("listen: %s: %s", address, reason(err))
		}
		return []net.Listener{l}, nil
	}
	return listenAt(all, "listen", addresses)
}

// listenAt appends the listeners of addresses to all. If one cannot be opened, it closes all; the error says what that is for.
func listenAt(all []net.Listener, what string, addresses []string) ([]net.Listener, error) {
	for _, address := range addresses {
		l, err := listen(address)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("%s: %s: %s", what, address, reason(err))
		}
		all = append(all, l)
	}
	return all, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close() // a server may have closed it already
	}
}

// listenDefault opens the default address, and returns which that is on this machine.
func listenDefault(listen func(string) (net.Listener, error)) (l net.Listener, address string, err error) {
	l, err = listen(defaultListen)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) { // there is no IPv6
		l, err = listen(defaultListen4)
		return l, defaultListen4, err
	}
	return l, defaultListen, err
}

// tellSystemd tells systemd the state of the service, as sd_notify(3) does. It does nothing for a process that systemd did
// not start.
func tellSystemd(state string) {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		if c, err := net.Dial("unixgram", path); err == nil {
			_, _ = io.WriteString(c, state) // systemd notices in time that it hears nothing
			c.Close()
		}
	}
}

// listen opens one address. It replaces the socket of a server that is gone.
func listen(address string) (net.Listener, error) {
	path, isSocket := strings.CutPrefix(address, "unix:")
	if !isSocket && !strings.Contains(address, "/") {
		return net.Listen("tcp", address)
	}
	if path == "" {
		return nil, errors.New("no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if fi, serr := os.Lstat(path); serr != nil || fi.Mode().Type() != fs.ModeSocket {
		return nil, err
	}
	c, derr := net.Dial("unix", path)
	if !errors.Is(derr, syscall.ECONNREFUSED) {
		if derr == nil {
			c.Close()
		}
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// passedListeners returns the sockets that systemd opened for this process: they begin at descriptor 3; see
// sd_listen_fds(3).
func passedListeners() (all []net.Listener, err error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS: invalid value %s", quote(os.Getenv("LISTEN_FDS")))
	}
	for fd := 3; fd < 3+n; fd++ {
		file := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("descriptor %d: %s", fd, reason(err))
		}
		all = append(all, l)
	}
	return all, nil
}

// jsonAddress is an address as JSON.
type jsonAddress struct {
	URL string `json:"url"` // as -s takes it
}

func (jsonAddress) lineType() string { return "address" }

func (e *env) printAddress(l net.Listener, secure bool) {
	url := "grpc+http://" + l.Addr().String()
	switch {
	case l.Addr().Network() == "unix":
		url = "grpc+unix:" + l.Addr().String()
	case secure:
		url = "grpc+https://" + l.Addr().String()
	}
	e.print(jsonAddress{url}, url)
}
