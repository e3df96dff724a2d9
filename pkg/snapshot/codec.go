package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxLock bounds what ParseLock reads; a lock of 2 000 images has about 1 MiB.
const maxLock = 8 << 20

var (
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// Encode writes the lock as YAML. Equal locks give equal bytes: lists are
// sorted first, and there is no map in it.
func (l *Lock) Encode() ([]byte, error) {
	c := *l
	c.APIVersion, c.Kind = LockAPIVersion, LockKind
	c.Images = slices.Clone(l.Images)
	for i := range c.Images {
		c.Images[i].UsedBy = slices.Sorted(slices.Values(c.Images[i].UsedBy))
		c.Images[i].Platforms = slices.Sorted(slices.Values(c.Images[i].Platforms))
	}
	slices.SortFunc(c.Images, func(a, b Image) int { return strings.Compare(a.Requested, b.Requested) })
	c.Renders = slices.Clone(l.Renders)
	slices.SortFunc(c.Renders, func(a, b Render) int {
		return strings.Compare(a.Environment+"/"+a.Application, b.Environment+"/"+b.Application)
	})
	var b bytes.Buffer
	b.WriteString("# Written by Propagator. Every image of this snapshot, frozen; do not edit.\n")
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&c); err != nil {
		return nil, fmt.Errorf("encode lock: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("encode lock: %w", err)
	}
	return b.Bytes(), nil
}

// ParseLock decodes a lock strictly: unknown fields, tags where digests belong,
// doubled images and missing parts are errors, each with its line, all of them
// at once. There is no lock beside an error.
func ParseLock(text []byte) (*Lock, error) {
	if len(text) > maxLock {
		return nil, fmt.Errorf("%s: larger than %d MiB", LockFile, maxLock>>20)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var lock Lock
	switch err := decoder.Decode(&lock); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: is empty", LockFile)
	case err != nil:
		// What is no YAML says so, whatever else is wrong.
		if broken := yaml.Unmarshal(text, new(yaml.Node)); broken != nil {
			err = broken
		}
		return nil, syntaxFaults(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: holds more than one document", LockFile)
	}
	check := lockChecker{text: text}
	check.lock(&lock)
	if len(check.faults) > 0 {
		return nil, errors.Join(check.faults...)
	}
	return &lock, nil
}

// yamlLine is how the YAML library begins a fault, yamlType the Go type that it
// ends some with.
var (
	yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)
	yamlType = regexp.MustCompile(` in(?:to)? (?:type )?snapshot\.\w+$`)
)

// syntaxFaults puts the faults that the YAML library found into the form of all
// others: file, line, what.
func syntaxFaults(err error) error {
	all := []string{err.Error()}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		all = typed.Errors
	}
	faults := make([]error, 0, len(all))
	for _, text := range all {
		text = yamlType.ReplaceAllString(text, "")
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			faults = append(faults, fmt.Errorf("%s:%s: %s", LockFile, m[1], text[len(m[0]):]))
			continue
		}
		faults = append(faults, fmt.Errorf("%s: %s", LockFile, strings.TrimPrefix(text, "yaml: ")))
	}
	return errors.Join(faults...)
}

// lockChecker collects the faults of a decoded lock. Their lines are found in
// its text, which is parsed a second time only when there is a fault.
type lockChecker struct {
	text   []byte
	root   *yaml.Node
	faults []error
}

func (c *lockChecker) line(path []any) int {
	if c.root == nil {
		c.root = new(yaml.Node)
		_ = yaml.Unmarshal(c.text, c.root) // it was decoded before
	}
	return lineOf(c.root, path)
}

func (c *lockChecker) fault(path []any, format string, args ...any) {
	name := ""
	for _, p := range path {
		switch p := p.(type) {
		case int:
			name += fmt.Sprintf("[%d]", p)
		case string:
			name += "." + p
		}
	}
	c.faults = append(c.faults, fmt.Errorf("%s:%d: %s: %s", LockFile, c.line(path), strings.TrimPrefix(name, "."), fmt.Sprintf(format, args...)))
}

func (c *lockChecker) lock(l *Lock) {
	if l.APIVersion != LockAPIVersion || l.Kind != LockKind {
		c.fault([]any{"kind"}, "is %s %q, not %s %q", l.APIVersion, l.Kind, LockAPIVersion, LockKind)
	}
	if l.Version.IsZero() {
		c.fault([]any{"version"}, "missing")
	}
	if !commitPattern.MatchString(l.Source.Commit) {
		c.fault([]any{"source", "commit"}, "%q is not a full commit id", l.Source.Commit)
	}
	if l.Source.Tag != "" && !tagPattern.MatchString(l.Source.Tag) {
		c.fault([]any{"source", "tag"}, "%q cannot be the tag of a commit and of an image", l.Source.Tag)
	}
	c.hotfixes(l)
	if at := l.Source.Scheduled; !at.Equal(at.Truncate(time.Second)) || at.Location() != time.UTC {
		c.fault([]any{"source", "scheduled"}, "%s is not a time in UTC and whole seconds", at.Format(time.RFC3339Nano))
	}
	seen := map[string]int{}
	for i, image := range l.Images {
		at := func(field string) []any { return []any{"images", i, field} }
		if image.Requested == "" {
			c.fault(at("requested"), "missing")
		}
		if first, double := seen[image.Requested]; double {
			c.fault(at("requested"), "%s is already images[%d]", image.Requested, first)
		}
		seen[image.Requested] = i
		if !digestPattern.MatchString(image.Digest) {
			c.fault(at("digest"), "%q is a tag or malformed; a lock holds digests only (sha256:…)", image.Digest)
		}
		if _, asked, pinned := strings.Cut(image.Requested, "@"); pinned && asked != image.Digest {
			c.fault(at("digest"), "%s contradicts the digest that the manifests ask for, %s", image.Digest, asked)
		}
		for j, use := range image.UsedBy {
			if environment, application, ok := strings.Cut(use, "/"); !ok || environment == "" || application == "" {
				c.fault([]any{"images", i, "usedBy", j}, "%q is not environment/application", use)
			}
		}
	}
	renders := map[string]bool{}
	for i, r := range l.Renders {
		key := r.Environment + "/" + r.Application
		if r.Environment == "" || r.Application == "" || renders[key] {
			c.fault([]any{"renders", i}, "%q is incomplete or doubled", key)
		}
		renders[key] = true
		if !fs.ValidPath(r.Path) {
			c.fault([]any{"renders", i, "path"}, "%q is not a folder of the repository (a relative path with slashes, without dots)", r.Path)
		}
		if !digestPattern.MatchString(r.SHA256) {
			c.fault([]any{"renders", i, "sha256"}, "%q is not a sha256 hash (sha256:…)", r.SHA256)
		}
	}
}

// hotfixes checks what a composed snapshot says about its origin.
func (c *lockChecker) hotfixes(l *Lock) {
	if l.Base == nil {
		if len(l.Hotfixes) > 0 {
			c.fault([]any{"hotfixes"}, "there is no base that they were composed onto")
		}
		return
	}
	if len(l.Hotfixes) == 0 {
		c.fault([]any{"hotfixes"}, "missing, but there is a base")
	}
	if !l.Base.Snapshot.SameLine(l.Version) || l.Base.Snapshot.Compare(l.Version) >= 0 {
		c.fault([]any{"base", "snapshot"}, "%s is no earlier patch of %s", l.Base.Snapshot, l.Version)
	}
	if !l.Base.Commit.Valid() || !l.Base.Captured.Valid() {
		c.fault([]any{"base"}, "commit and captured are full commit ids")
	}
	seen := map[string]bool{}
	for i, h := range l.Hotfixes {
		if !ValidHotfixName(h.Name) || !h.Base.Valid() || !h.Head.Valid() || h.Since.IsZero() || seen[h.Name+string(h.Head)] {
			c.fault([]any{"hotfixes", i}, "%q is incomplete or doubled", h.Name)
		}
		seen[h.Name+string(h.Head)] = true
	}
}

// lineOf finds the line of the node at path, or of the closest parent there is.
func lineOf(node *yaml.Node, path []any) int {
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	line := max(node.Line, 1)
	for _, p := range path {
		next := child(node, p)
		if next == nil {
			break
		}
		node, line = next, next.Line
	}
	return line
}

func child(node *yaml.Node, p any) *yaml.Node {
	switch p := p.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && p < len(node.Content) {
			return node.Content[p]
		}
	case string:
		if node.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == p {
				return node.Content[i+1]
			}
		}
	}
	return nil
}

// Image returns the entry for a reference as the manifests write it.
func (l *Lock) Image(requested string) (Image, bool) {
	for _, image := range l.Images {
		if image.Requested == requested {
			return image, true
		}
	}
	return Image{}, false
}

// Lookup returns the digest of a reference as the manifests write it.
func (l *Lock) Lookup(requested string) (digest string, ok bool) {
	image, ok := l.Image(requested)
	return image.Digest, ok
}

// ImagesOf lists the images that any of the environments uses.
func (l *Lock) ImagesOf(environments ...string) []Image {
	var images []Image
	for _, image := range l.Images {
		if slices.ContainsFunc(image.UsedBy, func(use string) bool {
			environment, _, _ := strings.Cut(use, "/")
			return slices.Contains(environments, environment)
		}) {
			images = append(images, image)
		}
	}
	return images
}

// RendersOf lists the renders of one environment.
func (l *Lock) RendersOf(environment string) []Render {
	var renders []Render
	for _, r := range l.Renders {
		if r.Environment == environment {
			renders = append(renders, r)
		}
	}
	return renders
}
