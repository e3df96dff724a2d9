package extension

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewDefaults(t *testing.T) {
	sum := sha256.Sum256(nil)
	e, err := New(Options{Command: "check", Dir: "/plugins", SHA256: strings.ToUpper(hex.EncodeToString(sum[:]))})
	if err != nil {
		t.Fatal(err)
	}
	type fields struct {
		Name, Path string
		Timeout    time.Duration
		Checksum   []byte
	}
	want := fields{"check", "/plugins/check", DefaultTimeout, sum[:]}
	if diff := cmp.Diff(want, fields{e.name, e.path, e.timeout, e.checksum}); diff != "" {
		t.Errorf("New (-want +got):\n%s", diff)
	}
}

func TestNewFaults(t *testing.T) {
	good := strings.Repeat("ab", sha256.Size)
	tests := []struct {
		name    string
		options Options
		want    string
	}{
		{"no command", Options{SHA256: good}, "plugin: command is missing; say which program is the gate"},
		{"searched in PATH", Options{Command: "sh", SHA256: good}, `plugin: command "sh" is not an absolute path, and there is no directory of plugins to look in`},
		{"out of the directory", Options{Command: "../sh", Dir: "/plugins", SHA256: good}, `plugin: command "../sh" leads out of the directory of plugins`},
		{"relative directory", Options{Command: "sh", Dir: "plugins", SHA256: good}, `plugin: directory of plugins "plugins" is not an absolute path`},
		{"zero byte", Options{Command: "/a", Args: []string{"b\x00c"}, SHA256: good}, "plugin: command or an argument has a zero byte in it"},
		{"no checksum", Options{Command: "/a"}, `plugin: sha256 "" is not a checksum of 64 hexadecimal digits; see: sha256sum /a`},
		{"short checksum", Options{Command: "/a", SHA256: good[2:]}, `plugin: sha256 "` + good[2:] + `" is not a checksum of 64 hexadecimal digits; see: sha256sum /a`},
		{"no digits", Options{Command: "/a", SHA256: "sha256:" + good[7:]}, `plugin: sha256 "sha256:` + good[7:] + `" is not a checksum of 64 hexadecimal digits; see: sha256sum /a`},
		{"negative timeout", Options{Command: "/a", SHA256: good, Timeout: -1}, "plugin: timeout is -1ns, must be longer than nothing and at most 5m0s"},
		{"long timeout", Options{Command: "/a", SHA256: good, Timeout: time.Hour}, "plugin: timeout is 1h0m0s, must be longer than nothing and at most 5m0s"},
		{"large settings", Options{Command: "/a", SHA256: good, Settings: map[string]string{"a": strings.Repeat("b", maxSettings)}}, "plugin: settings have 65537 bytes, at most 65536 are handed over"},
		{"no text", Options{Command: "/a", SHA256: good, Settings: map[string]string{"a": "\xff"}}, `plugin: setting "a" is not UTF-8`},
		{"two", Options{Command: "a", SHA256: good, Timeout: -1}, "plugin: command \"a\" is not an absolute path, and there is no directory of plugins to look in\ntimeout is -1ns, must be longer than nothing and at most 5m0s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.options)
			if err == nil || err.Error() != test.want {
				t.Errorf("New: %v\nwant: %s", err, test.want)
			}
		})
	}
}

func TestPrepareExecutesWhatWasChecked(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	original := filepath.Join(t.TempDir(), "check")
	write(t, original, "one", 0o755)
	sum := sha256.Sum256([]byte("one"))
	e, err := New(Options{Command: original, SHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, original, "two", 0o755)
	got, err := os.ReadFile(p.file)
	if err != nil || string(got) != "one" {
		t.Errorf("the copy has %q (%v)", got, err)
	}
	for path, want := range map[string]os.FileMode{p.dir: 0o700, p.file: 0o500, p.temporary: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", path, info.Mode().Perm(), err, want)
		}
	}
	if err := p.remove(); err != nil {
		t.Error(err)
	}
	assertEmpty(t, os.Getenv("TMPDIR"))
}

func TestCleaner(t *testing.T) {
	c := newCleaner(map[string]string{"api-token": "abc 123", "directory": "/tickets", "PASSWORD": ""})
	tests := []struct{ name, text, want string }{
		{"plain", "all is well", "all is well"},
		{"lines", " a\r\n\tb\u2028c ", "a b c"},
		{"control characters", "\x1b[31mred\x07\u202e\xff", "[31mred"},
		{"secret setting", "sent abc 123 to x", "sent REDACTED to x"},
		{"secret setting in pieces", "sent abc\n\x00 12\u200b3", "sent REDACTED"},
		{"other setting", "looked in /tickets", "looked in /tickets"},
		{"bearer", "Bearer 0123456789abcdef, then", "Bearer REDACTED, then"},
		{"about a bearer", "bearer token is old", "bearer token is old"},
		{"header", "authorization: Basic Zm9vOmJhcg==", "authorization: Basic REDACTED"},
		{"url", "https://user:secret@example.com/a", "https://REDACTED@example.com/a"},
		{"address", "mail a@example.com, https://example.com/@a", "mail a@example.com, https://example.com/@a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := c.line(test.text); got != test.want {
				t.Errorf("line(%q) = %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	var log logged
	out := &output{log: slog.New(&log), clean: newCleaner(nil)}
	w := out.writer("stderr", slog.LevelInfo)
	for _, part := range []string{"be", "gin\nlong:", strings.Repeat("x", 1<<20), "\n\n \n", strings.Repeat("again\n", 10*maxLines), "rest"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	out.flush()
	lines := log.all()
	if len(lines) != maxLines {
		t.Fatalf("%d lines are logged, want %d", len(lines), maxLines)
	}
	want := []string{"INFO begin", "INFO long:" + strings.Repeat("x", maxLine-len("long:")), "INFO again"}
	if diff := cmp.Diff(want, lines[:3]); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if last := lines[maxLines-1]; last != "INFO the plugin prints more than is logged" {
		t.Errorf("the last line is %q", last)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func assertEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("%s is left in the temporary directory", entry.Name())
	}
}

// logged keeps what is logged, as level and message.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (*logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *logged) WithGroup(string) slog.Handler          { return l }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Level.String()+" "+r.Message)
	return nil
}

func (l *logged) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
