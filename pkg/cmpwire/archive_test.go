package cmpwire

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// entry of a test archive; a body makes it a file unless kind says otherwise.
type entry struct {
	name, body, link string
	kind             byte
}

func file(name, body string) entry   { return entry{name: name, body: body, kind: tar.TypeReg} }
func dir(name string) entry          { return entry{name: name, kind: tar.TypeDir} }
func link(name, target string) entry { return entry{name: name, link: target, kind: tar.TypeSymlink} }

func packed(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.body)), Mode: 0o600}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// content lists a tree: files with their text, links with their target,
// directories with a slash.
func content(t testing.TB, fsys fs.FS) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			got[name+"/"] = ""
		case d.Type() == fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, name)
			got[name] = "-> " + target
			return err
		default:
			text, err := fs.ReadFile(fsys, name)
			got[name] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadArchive(t *testing.T) {
	tree, err := ReadArchive(bytes.NewReader(packed(t,
		dir("."),
		dir(".git/"), file(".git/config", "x"),
		file("./base/web.yaml", "kind: X\n"), // directory implied, name with ./
		dir("base/"),                         // and explicit later
		dir("envs"), dir("envs/prod/"),
		link("envs/prod/base", "../../base"),
		link("envs/prod/dangling", "nowhere"),
		file("envs/prod/empty", ""),
		file("sub/.git", "gitdir: x"),
		file("bad\xff.txt", "not addressable"),
	)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"./": "", "base/": "", "base/web.yaml": "kind: X\n", "envs/": "", "envs/prod/": "",
		"envs/prod/base": "-> ../../base", "envs/prod/dangling": "-> nowhere", "envs/prod/empty": "",
	}
	if diff := cmp.Diff(want, content(t, tree)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if text, err := tree.ReadFile("envs/prod/base/web.yaml"); err != nil || string(text) != "kind: X\n" {
		t.Errorf("through a link: %q %v", text, err)
	}
	if _, err := tree.Stat("envs/prod/dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dangling: %v", err)
	}
	text, _ := tree.ReadFile("base/web.yaml")
	text[0] = 'X'
	if again, _ := tree.ReadFile("base/web.yaml"); again[0] != 'k' {
		t.Error("a caller can change the tree")
	}
	if err := fstest.TestFS(tree, "base/web.yaml", "envs/prod/empty"); err != nil && !strings.Contains(err.Error(), "dangling") {
		t.Error(err)
	}
}

func TestTreeIsAFileSystem(t *testing.T) {
	tree, err := ReadArchive(bytes.NewReader(packed(t, file("a/b/c", "1"), file("a/d", "2"), link("a/l", "b"), link("e", "a/l/c"))), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "a/b/c", "a/d", "a/l", "e"); err != nil {
		t.Error(err)
	}
}

// Links that stay inside by their text but not by what they mean are stopped
// when they are used.
func TestLinksStayInside(t *testing.T) {
	tree, err := ReadArchive(bytes.NewReader(packed(t,
		file("secret", "s"), dir("d"),
		link("d/up", ".."), link("d/x", "up/../secret"), // the root's parent
		link("loop", "loop2"), link("loop2", "loop"),
		file("d/f", ""), link("d/below-file", "f/y"), link("d/dotdot-file", "f/../f"),
	)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"d/x": errEscape, "loop": errLoop, "d/below-file": fs.ErrNotExist, "d/dotdot-file": fs.ErrNotExist, "../x": fs.ErrInvalid, "/secret": fs.ErrInvalid, "": fs.ErrInvalid} {
		if _, err := tree.Open(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if text, err := tree.ReadFile("d/up/secret"); err != nil || string(text) != "s" {
		t.Errorf("d/up/secret: %q %v", text, err)
	}
}

func TestHostileArchives(t *testing.T) {
	small := Limits{Compressed: 1 << 20, Extracted: 1 << 20, Kept: 4 << 10, Entries: 5, PathLength: 50}
	many := make([]entry, 6)
	for i := range many {
		many[i] = file(string(rune('a'+i)), "")
	}
	for name, test := range map[string]struct {
		archive []byte
		want    error
		says    string
	}{
		"parent":              {packed(t, file("../x", "")), ErrUnsafe, "../x"},
		"inner parent":        {packed(t, file("a/../../x", "")), ErrUnsafe, ""},
		"absolute":            {packed(t, file("/etc/passwd", "")), ErrUnsafe, ""},
		"unclean":             {packed(t, file("a//b", "")), ErrUnsafe, ""},
		"root as file":        {packed(t, file(".", "")), ErrUnsafe, ""},
		"link out":            {packed(t, link("a", "../x")), ErrUnsafe, "leads out"},
		"absolute link":       {packed(t, link("a", "/etc")), ErrUnsafe, "leads out"},
		"below link":          {packed(t, dir("d"), link("a", "d"), file("a/x", "")), ErrUnsafe, "below a symbolic link"},
		"below file":          {packed(t, file("a", ""), file("a/x", "")), ErrUnsafe, "below a file"},
		"twice":               {packed(t, file("a", "1"), file("a", "2")), ErrUnsafe, "twice"},
		"directory twice":     {packed(t, dir("a"), dir("a")), ErrUnsafe, "twice"},
		"link over directory": {packed(t, dir("a"), link("a", "b")), ErrUnsafe, "twice"},
		"device":              {packed(t, entry{name: "a", kind: tar.TypeChar}), ErrUnsafe, "neither"},
		"fifo":                {packed(t, entry{name: "a", kind: tar.TypeFifo}), ErrUnsafe, "neither"},
		"hard link":           {packed(t, file("b", ""), entry{name: "a", link: "b", kind: tar.TypeLink}), ErrUnsafe, "neither"},
		"many entries":        {packed(t, many...), ErrTooLarge, "more than 5 entries"},
		"long path":           {packed(t, file(strings.Repeat("a", 51), "")), ErrTooLarge, "51 bytes"},
		"long target":         {packed(t, link("a", strings.Repeat("a", 51))), ErrTooLarge, "51 bytes"},
		"large file":          {packed(t, file("a", strings.Repeat("a", 5<<10))), ErrTooLarge, "files take more"},
		"deep":                {packed(t, file(strings.Repeat("a/", 24)+"a", "")), ErrTooLarge, "files take more"},
		"bomb in .git":        {packed(t, file(".git/x", strings.Repeat("a", 2<<20))), ErrTooLarge, "decompressed"},
		"bomb":                {packed(t, file("x", ""), file(".git/y", strings.Repeat("\x00", 2<<20))), ErrTooLarge, "decompressed"},
		"empty":               {nil, ErrMalformed, ""},
		"no gzip":             {[]byte("hello"), ErrMalformed, ""},
		"truncated":           {packed(t, file("a", "hello"))[:40], ErrMalformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadArchive(bytes.NewReader(test.archive), small)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v (%s)", err, test.want, test.says)
			}
		})
	}
	gzipWithoutTar := func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(bytes.Repeat([]byte("garbage "), 200))
		_ = z.Close()
		return b.Bytes()
	}
	if _, err := ReadArchive(bytes.NewReader(gzipWithoutTar()), small); !errors.Is(err, ErrMalformed) {
		t.Errorf("gzip without tar: %v", err)
	}
}

func TestKeepFilter(t *testing.T) {
	keep := func(name string) bool { return strings.HasSuffix(name, ".yaml") }
	tree, err := ReadArchive(bytes.NewReader(packed(t, file("a.yaml", "1"), file("big.bin", strings.Repeat("x", 9000)))), Limits{Kept: 4096, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"./": "", "a.yaml": "1"}, content(t, tree)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteArchive(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b/c.yaml", "c")
	write("a.yaml", "a")
	write("skip.me", "s")
	write("large", strings.Repeat("large file ", 200_000))
	write(".git/HEAD", "ref")
	if err := os.Symlink("../a.yaml", filepath.Join(root, "b", "link")); err != nil {
		t.Fatal(err)
	}
	archive, err := WriteArchive(os.DirFS(root), []string{".git", "*.me"})
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	if diff := cmp.Diff([]string{".", "a.yaml", "b", "b/c.yaml", "b/link", "large"}, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	tree, err := ReadArchive(bytes.NewReader(archive), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"./": "", "a.yaml": "a", "b/": "", "b/c.yaml": "c", "b/link": "-> ../a.yaml", "large": strings.Repeat("large file ", 200_000)}
	if diff := cmp.Diff(want, content(t, tree)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := WriteArchive(os.DirFS(t.TempDir()), nil); err == nil || !strings.Contains(err.Error(), "no files") {
		t.Errorf("an empty root: %v", err)
	}
	if _, err := WriteArchive(os.DirFS(root), []string{"["}); err == nil {
		t.Error("a malformed pattern is accepted")
	}
}

// Whatever the bytes, decoding ends within its limits, and an accepted tree
// never leads out of itself.
func FuzzReadArchive(f *testing.F) {
	f.Add(packed(f, dir("."), file("a/b", "text"), link("a/l", "../a"), link("x", "a/l/b")))
	f.Add(packed(f, file("../x", "")))
	f.Add(packed(f, dir("d"), link("d/up", ".."), link("d/x", "up/../secret")))
	f.Add([]byte{0x1f, 0x8b})
	limits := Limits{Compressed: 1 << 20, Extracted: 1 << 20, Kept: 1 << 18, Entries: 100, PathLength: 200}
	f.Fuzz(func(t *testing.T, data []byte) { checkArchive(t, data, limits) })
}

// FuzzReadTar skips the compression, which a fuzzer cannot see through.
func FuzzReadTar(f *testing.F) {
	for _, archive := range [][]byte{
		packed(f, dir("."), file("a/b", "text"), link("a/l", "../a")),
		packed(f, file("a", "1"), file("a", "2")),
	} {
		z, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	limits := Limits{Compressed: 1 << 20, Extracted: 1 << 20, Kept: 1 << 18, Entries: 100, PathLength: 200}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		checkArchive(t, b.Bytes(), limits)
	})
}

func checkArchive(t *testing.T, data []byte, limits Limits) {
	tree, err := ReadArchive(bytes.NewReader(data), limits)
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsafe) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("an error of no kind: %v", err)
		}
		return
	}
	for name := range content(t, tree) {
		if git(strings.TrimSuffix(name, "/")) || len(name) > limits.PathLength+1 {
			t.Errorf("kept %q", name)
		}
		_, _ = tree.ReadFile(name)
	}
}
