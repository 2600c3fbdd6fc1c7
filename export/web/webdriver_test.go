package web

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// browser is Chromium, driven by the WebDriver protocol (w3.org/TR/webdriver2).
type browser struct {
	t         *testing.T
	session   string // its address
	downloads string // the folder of what it saved
}

// elementKey names the field of an element in JSON.
const elementKey = "element-6066-11e4-a52e-4f735466cecf"

// startBrowser starts a browser, or skips the test if there is none.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Skip("NOT TESTED: pages in a browser: chromedriver is not installed (package chromium-driver of Debian)")
	}
	home := t.TempDir()
	c := exec.Command(driver, "--port=0")
	c.Env = append(os.Environ(), "HOME="+home)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	started := regexp.MustCompile(`started successfully on port (\d+)`)
	port := ""
	for lines := bufio.NewScanner(out); port == "" && lines.Scan(); {
		if m := started.FindStringSubmatch(lines.Text()); m != nil {
			port = m[1]
		}
	}
	b := &browser{t: t, session: "http://127.0.0.1:" + port + "/session", downloads: t.TempDir()}
	var session struct{ SessionID string }
	b.call("POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName": "chrome",
		"timeouts":    map[string]int{"implicit": 30_000}, // a busy machine shows a page late
		"goog:chromeOptions": map[string]any{
			"args":  []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + filepath.Join(home, "profile")},
			"prefs": map[string]any{"download.default_directory": b.downloads},
		},
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
	}}}, &session)
	b.session += "/" + session.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) })
	return b
}

// call sends a command. to, if not nil, gets the value of the answer.
func (b *browser) call(method, path string, params, to any) {
	b.t.Helper()
	body := []byte("{}")
	if params != nil {
		var err error
		if body, err = json.Marshal(params); err != nil {
			b.t.Fatal(err)
		}
	}
	if method != "POST" {
		body = nil
	}
	req, err := http.NewRequest(method, b.session+path, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s %s: %.600s", method, path, body, answer.Value)
	}
	if to != nil {
		if err := json.Unmarshal(answer.Value, to); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.call("POST", "/url", map[string]string{"url": url}, nil)
}

// get returns a text about the page: url, title or source.
func (b *browser) get(what string) (text string) {
	b.t.Helper()
	b.call("GET", "/"+what, nil, &text)
	return text
}

// find returns the path of the element that a CSS selector, or the text of a link, finds.
func (b *browser) find(using, value string) string {
	b.t.Helper()
	var e map[string]string
	b.call("POST", "/element", map[string]string{"using": using, "value": value}, &e)
	return "/element/" + e[elementKey]
}

// click clicks the link of that text.
func (b *browser) click(text string) {
	b.t.Helper()
	b.call("POST", b.find("link text", text)+"/click", nil, nil)
}

// text returns the text that people see of what a selector finds.
func (b *browser) text(selector string) (text string) {
	b.t.Helper()
	b.call("GET", b.find("css selector", selector)+"/text", nil, &text)
	return text
}

// eval returns the value of an expression on the page.
func (b *browser) eval(expression string, to any) {
	b.t.Helper()
	b.call("POST", "/execute/sync", map[string]any{"script": "return " + expression, "args": []any{}}, to)
}

// devtools sends a command of the protocol of Chromium's developer tools.
func (b *browser) devtools(command string, params map[string]any) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}

// complaints returns what the browser has complained about since the last call.
func (b *browser) complaints() (all []string) {
	b.t.Helper()
	var log []struct{ Level, Message string }
	b.call("POST", "/se/log", map[string]string{"type": "browser"}, &log)
	for _, l := range log {
		all = append(all, l.Level+" "+l.Message)
	}
	return all
}

// shot keeps a picture of the page in the folder that CASTAR_TEST_SHOTS names, to be looked at.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("CASTAR_TEST_SHOTS")
	if dir == "" {
		return
	}
	png, err := base64.StdEncoding.DecodeString(b.get("screenshot"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o666)
	}
	if err != nil {
		b.t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
}
