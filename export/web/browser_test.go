package web

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/storetest"
)

// TestBrowser does in a real browser what people do: it goes from a tag to a file, saves one, compares two trees, pages
// through a large directory, and uses the keyboard and a phone. The names and the contents of the tree attack it.
func TestBrowser(t *testing.T) {
	if testing.Short() || storetest.UnderRace {
		t.Skip("NOT TESTED HERE: .ci/run runs this without the race detector")
	}
	b := startBrowser(t)
	s := newSite(t, Options{})
	tree, changed := hostile(), hostile()
	tree["long"], changed["long"] = strings.Repeat("x", 123_456), strings.Repeat("y", 234_567)
	root := put(t, s.st, tree)
	changed["evil.html"] = "<script>alert(2)</script>\n"
	changed["added"] = "x"
	putTag(t, s.st, "v1", root)
	putTag(t, s.st, "v2", put(t, s.st, changed))
	putTag(t, s.st, "big", bigDirectory(t, s.st))
	putTag(t, s.st, "host/"+strings.Repeat("a-long-part.of-a-name/", 9)+"tree", put(t, s.st, folder{}))
	t.Run("from a tag to a file", func(t *testing.T) { b.t = t; browseFile(b, s) })
	t.Run("nothing runs", func(t *testing.T) { b.t = t; browseHostile(b, s) })
	t.Run("save", func(t *testing.T) { b.t = t; browseSave(b, s) })
	t.Run("compare", func(t *testing.T) { b.t = t; browseDiff(b, s) })
	t.Run("page through", func(t *testing.T) { b.t = t; browsePages(b, s) })
	t.Run("keyboard", func(t *testing.T) { b.t = t; browseKeys(b, s) })
	t.Run("sizes", func(t *testing.T) { b.t = t; browseSizes(b, s) })
	b.t = t
}

// bigDirectory stores a directory of 100,000 entries.
func bigDirectory(t *testing.T, st *store.Store) store.Node {
	one := put(t, st, "1")
	dir := make(store.Directory, 100_000)
	for i := range dir {
		dir[i] = one
		dir[i].Name = fmt.Sprintf("file-%06d", i)
	}
	return putDirectory(t, st, dir)
}

// quiet fails the test if the browser has complained, such as about its policy.
func (b *browser) quiet() {
	b.t.Helper()
	for _, c := range b.complaints() {
		b.t.Errorf("the browser complains: %s", c)
	}
}

func browseFile(b *browser, s *site) {
	b.open(s.srv.URL)
	b.shot("home")
	b.click("v1")
	b.shot("directory")
	b.click("sub/")
	b.click("deep/")
	b.quiet()
	b.click("file")
	if got := b.text("body"); got != "deep" {
		b.t.Errorf("the file reads %q", got)
	}
	if got := b.get("url"); !strings.HasSuffix(got, "/sub/deep/file") {
		b.t.Errorf("the file is at %s", got)
	}
	b.open(s.srv.URL + "/tags/v1/picture.png")
	if got := b.find("css selector", "img"); got == "" {
		b.t.Error("the image is not shown")
	}
	b.shot("image")
	b.open(s.srv.URL + "/tags/v1?map")
	b.shot("map")
	b.quiet()
}

func browseHostile(b *browser, s *site) {
	b.open(s.srv.URL + "/tags/v1")
	title := b.get("title")
	for _, name := range []string{"<script>document.title='PWNED'<script>", "evil.html", "evil.svg", "evil.xml", "evil.js"} {
		b.open(s.srv.URL + "/tags/v1")
		if got := b.get("title"); got != title {
			b.t.Errorf("the title is %q", got)
		}
		b.click(name)
		if got := b.get("title"); strings.Contains(got, "PWNED") {
			b.t.Errorf("%s ran", name)
		}
		if got := b.text("pre"); got == "" || got == "evil" { // shown as text: the document has one pre element
			b.t.Errorf("%s is shown as %q", name, got)
		}
	}
	b.open(s.srv.URL + "/tags/v1")
	n := 0
	b.eval("document.scripts.length", &n)
	if n != 0 {
		b.t.Errorf("%d scripts", n)
	}
}

func browseSave(b *browser, s *site) {
	want := hostile()
	for name, saved := range map[string]string{"binary": "binary", "evil.html": "evil.html", "a\xff\xfe.txt": "a__.txt"} {
		b.open(s.srv.URL + "/tags/v1/" + url.PathEscape(name) + "?download")
		waitFile(b.t, filepath.Join(b.downloads, saved), want[name].(string))
	}
	b.open(s.srv.URL + "/tags/v1/sub")
	b.click("Download zip")
	r := s.get(treeURL(put(b.t, s.st, hostile()).Digest, "sub") + "?archive=zip")
	waitFile(b.t, filepath.Join(b.downloads, "sub.zip"), r.body)
}

// waitFile waits until a file has been saved.
func waitFile(t *testing.T, path, want string) {
	t.Helper()
	var got []byte
	for range 200 {
		got, _ = os.ReadFile(path) // it comes with its whole contents
		if string(got) == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: %q", path, got)
}

func browseDiff(b *browser, s *site) {
	b.open(s.srv.URL)
	b.click("Compare")
	for name, ref := range map[string]string{"from": "v1", "to": "v2"} {
		b.call("POST", b.find("css selector", "input[name="+name+"]")+"/value", map[string]string{"text": ref}, nil)
	}
	b.call("POST", b.find("css selector", "main button")+"/click", nil, nil)
	if got := b.text("main"); !strings.Contains(got, "v1 → v2") || !strings.Contains(got, "evil.html") || !strings.Contains(got, "added") {
		b.t.Errorf("the page reads %q", got)
	}
	b.shot("diff")
	b.click("lines")
	if got := b.text("pre"); !strings.Contains(got, "+<script>alert(2)</script>") {
		b.t.Errorf("the lines read %q", got)
	}
	b.shot("lines")
	b.quiet()
}

func browsePages(b *browser, s *site) {
	rows := func() (text string) { // faster than what people see of so many
		b.eval("document.querySelector('tbody').textContent.trim()", &text)
		return text
	}
	b.open(s.srv.URL + "/tags/big")
	if got := rows(); !strings.Contains(got, "file-000000") || strings.Contains(got, "file-000500") {
		b.t.Error("the first page shows something else")
	}
	b.shot("big")
	b.click("Next")
	if got := rows(); !strings.HasPrefix(got, "file-000500") {
		b.t.Errorf("the second page shows %.30q", got)
	}
	b.click("Last")
	if got := rows(); !strings.Contains(got, "file-099999") {
		b.t.Error("the last page lacks the last entry")
	}
	field := b.find("css selector", "input[name=page]")
	b.call("POST", field+"/clear", nil, nil)
	b.call("POST", field+"/value", map[string]string{"text": "100\ue007"}, nil) // and Enter
	b.find("css selector", "input[name=page][value='100']")                     // waits for the page
	if got := rows(); !strings.HasPrefix(got, "file-049500") {
		b.t.Errorf("page 100 shows %.30q", got)
	}
	b.quiet()
}

func browseKeys(b *browser, s *site) {
	b.open(s.srv.URL + "/tags/v1")
	press := func(key string) {
		b.call("POST", "/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keys", "actions": []any{
			map[string]string{"type": "keyDown", "value": key}, map[string]string{"type": "keyUp", "value": key},
		}}}}, nil)
	}
	active := func() (text string) {
		b.eval("document.activeElement.textContent", &text)
		return text
	}
	press("\ue004") // Tab
	if got := active(); got != "Skip to the contents" {
		b.t.Errorf("the first stop is %q", got)
	}
	visible := false
	b.eval("document.activeElement.getBoundingClientRect().left >= 0", &visible)
	if !visible {
		b.t.Error("the link past the header does not show when it has the focus")
	}
	b.shot("skip")
	press("\ue007") // Enter
	press("\ue004")
	if got := active(); got != "Where the bytes are" {
		b.t.Errorf("after the header comes %q", got)
	}
	outlined := ""
	b.eval("getComputedStyle(document.activeElement).outlineStyle", &outlined)
	if outlined != "solid" {
		b.t.Errorf("the focus has an outline %q", outlined)
	}
}

// browseSizes looks at each page on a phone and on a desk, by day and by night. None is wider than the window.
func browseSizes(b *browser, s *site) {
	browseSize(b, s, "phone", 320)
	browseSize(b, s, "desk", 1280)
}

func browseSize(b *browser, s *site, where string, width float64) {
	b.devtools("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 640, "deviceScaleFactor": 2, "mobile": width < 500})
	for _, scheme := range []string{"light", "dark"} {
		b.devtools("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}})
		for name, path := range map[string]string{
			"home": "/", "log": "/log", "directory": "/tags/v1", "big": "/tags/big", "map": "/tags/v1?map", "diff": "/diff?from=v1&to=v2",
			"lines": "/diff?from=v1:evil.html&to=v2:evil.html", "error": "/nothing", "ask": "/diff",
		} {
			b.open(s.srv.URL + path)
			var size struct{ Width, Inner float64 }
			b.eval("({Width: document.documentElement.scrollWidth, Inner: innerWidth})", &size)
			if size.Width > width || size.Inner != width {
				b.t.Errorf("%s is %g wide in a window of %g", name, size.Width, size.Inner)
			}
			back := ""
			b.eval("getComputedStyle(document.body).backgroundColor", &back)
			if (back == "rgb(255, 255, 255)") != (scheme == "light") {
				b.t.Errorf("%s: the background is %s when it should be %s", name, back, scheme)
			}
			b.shot(where + "-" + scheme + "-" + name)
		}
	}
}
