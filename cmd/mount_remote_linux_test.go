package cmd

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"castar/store/storetest"
)

// serve starts castar serve at a socket, and returns when it says that it is there.
func (m *mountTest) serve(socket string) *exec.Cmd {
	m.t.Helper()
	_ = os.Remove(socket)
	c := m.command("serve", "-q", "-l", "unix:"+socket)
	out, err := c.StdoutPipe()
	try(m.t, err)
	try(m.t, c.Start())
	m.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if url, err := bufio.NewReader(out).ReadString('\n'); !strings.Contains(url, socket) {
		m.t.Fatalf("serve: %q, %v", url, err)
	}
	return c
}

// TestMountRemote mounts a tree from a server, from a cache before it, from a folder of objects, and from a bucket.
func TestMountRemote(t *testing.T) {
	m := newMountTest(t)
	socket := filepath.Join(m.dir, "socket")
	m.serve(socket)
	objects, bucket := "objectstore+file://"+m.dir+"/objects", "packed+file:"+m.dir+"/bucket"
	m.run(0, "copy", "-q", "--to", objects, "t")
	m.run(0, "copy", "-q", "--to", bucket, "t")
	root, _ := m.run(0, "ingest", "-q", "--no-metadata", filepath.Join(m.dir, "tree"))
	root = strings.TrimSpace(root)
	for _, url := range []string{"grpc+unix:" + socket, "cache:?near=" + m.dir + "/near&far=grpc%2Bunix:" + socket, objects, bucket} {
		m.store = url
		c, _ := m.start(root, m.mnt)
		m.check()
		err := filepath.WalkDir(m.mnt, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		m.run(0, "umount", m.mnt)
		m.ended(c, statusDone)
	}
}

// TestMountServerGone takes the server away from a mount, and brings it back.
func TestMountServerGone(t *testing.T) {
	storetest.NotUnderRace(t)
	t.Parallel() // the client waits half a minute for the server
	testMountServerGone(newMountTest(t))
}

// TestMountServerGoneBucket is the same with a server of a bucket.
func TestMountServerGoneBucket(t *testing.T) {
	storetest.NotUnderRace(t)
	t.Parallel()
	m := newMountTest(t)
	bucket := "packed+file:" + m.dir + "/bucket"
	m.run(0, "copy", "-q", "--to", bucket, "--tags", "t")
	m.store = bucket
	testMountServerGone(m)
}

func testMountServerGone(m *mountTest) {
	t := m.t
	socket := filepath.Join(m.dir, "socket")
	packed, server := m.store, m.serve(socket)
	m.store = "grpc+unix:" + socket
	c, stderr := m.start("t", m.mnt)
	try(t, server.Process.Kill())
	_ = server.Wait()
	if _, err := os.ReadFile(filepath.Join(m.mnt, "f")); !errors.Is(err, syscall.EIO) {
		t.Errorf("without a server: %v", err)
	}
	said := make([]byte, 4096)
	try(t, stderr.SetReadDeadline(time.Now().Add(time.Minute)))
	n, err := stderr.Read(said)
	if text := string(said[:n]); err != nil || strings.Count(text, "\n") != 1 || !strings.Contains(text, "connection refused") {
		t.Errorf("said %q, %v", text, err)
	}
	m.store = packed
	m.serve(socket)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if got, err := os.ReadFile(filepath.Join(m.mnt, "f")); string(got) == "contents" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	m.run(0, "umount", m.mnt)
	m.ended(c, statusDone)
}
