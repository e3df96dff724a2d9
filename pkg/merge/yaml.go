package merge

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// isYAML goes by the name, as Argo CD and kustomize do.
func isYAML(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

// mergeYAML merges by structure what does not merge by lines. half is ours with
// those changes of theirs that did merge by lines; the structural changes are
// made in it if that works, because it has theirs' comments too, else in ours.
//
// The result is parsed again and must mean what the structural merge gave. When
// there is none, the conflicts say where both sides stand against each other;
// without conflicts, the error says why the text could not be edited.
func mergeYAML(names [3]string, base, ours, theirs, half string) (string, []Conflict, error) {
	text, conflicts, _, err := mergeManifest(names, base, ours, theirs, half)
	return text, conflicts, err
}

// mergeManifest is mergeYAML, and says whether theirs changes values that are no
// part of a conflict.
func mergeManifest(names [3]string, base, ours, theirs, half string) (text string, conflicts []Conflict, beside bool, err error) {
	crlf := strings.Contains(ours, "\r\n")
	if crlf && strings.Count(ours, "\r\n") != strings.Count(ours, "\n") {
		return "", nil, false, errors.New("ours has line ends of two kinds")
	}
	texts := [4]string{base, ours, theirs, half}
	var parsed [4]*yamlFile
	for i, text := range texts {
		texts[i] = strings.ReplaceAll(text, "\r\n", "\n")
		var err error
		if parsed[i], err = parseYAML(texts[i]); err != nil && i < 3 {
			return "", nil, false, err
		}
	}
	m := &yamlMerge{names: names, base: parsed[0], ours: parsed[1], theirs: parsed[2]}
	want, err := m.files()
	if len(m.conflicts) > 0 || err != nil {
		beside = err == nil && (m.beside || !m.ours.means(want))
		return "", m.conflicts, beside, err
	}
	finish := func(m *yamlMerge, text string) (string, error) {
		edited, err := m.edit(text, want)
		if err == nil && crlf {
			edited = strings.ReplaceAll(edited, "\n", "\r\n")
		}
		return edited, err
	}
	if parsed[3] != nil {
		h := &yamlMerge{names: names, base: parsed[0], ours: parsed[3], theirs: parsed[2]}
		if _, err := h.files(); err == nil && len(h.conflicts) == 0 {
			if edited, err := finish(h, texts[3]); err == nil {
				return edited, nil, false, nil
			}
		}
	}
	edited, err := finish(m, texts[1])
	return edited, nil, false, err
}

// means reports whether the documents are those.
func (f *yamlFile) means(want []*yaml.Node) bool {
	return slices.EqualFunc(f.docs, want, func(d yamlDoc, n *yaml.Node) bool { return equalNodes(d.root, n) })
}

// yamlMerge merges documents and collects the edits that make ours the result.
type yamlMerge struct {
	names              [3]string // of base, ours and theirs
	base, ours, theirs *yamlFile

	spans     []span
	conflicts []Conflict
	beside    bool   // a block of text has a conflict, and other changes as well
	why       string // the edits are not enough, and why
	doc       string // what the document is called in messages
}

// edit applies the edits and checks that the text means what it should.
func (m *yamlMerge) edit(text string, want []*yaml.Node) (string, error) {
	if m.why != "" {
		return "", errors.New(m.why)
	}
	ended := strings.HasSuffix(text, "\n")
	if !ended {
		text += "\n"
	}
	edited, err := applySpans(text, m.spans)
	if err != nil {
		return "", err
	}
	if !ended {
		edited = strings.TrimSuffix(edited, "\n")
	}
	got, err := parseYAML(edited)
	if err != nil {
		return "", errors.New("the edited text would not be valid")
	}
	if !got.means(want) {
		return "", errors.New("the edited text would mean something else")
	}
	return edited, nil
}

// files merges the documents and returns what the result should be.
func (m *yamlMerge) files() ([]*yaml.Node, error) {
	ids, err := matchDocs(m.base, m.ours, m.theirs)
	if err != nil {
		return nil, err
	}
	var want []*yaml.Node
	last := map[string]int{} // where a document of ours ends
	result := map[string]*yaml.Node{}
	order := newSequence()
	inBase, inTheirs := numbers(ids[0]), numbers(ids[2])
	for i, id := range ids[1] {
		o := m.ours.docs[i]
		last[id] = o.last
		if m.doc = ""; len(ids[1]) > 1 {
			m.doc = fmt.Sprintf("document %d", i+1)
			if o.id != "" {
				m.doc = child(o.root, "kind").Value + "/" + child(child(o.root, "metadata"), "name").Value
			}
		}
		b, t := docOf(m.base, inBase, id), docOf(m.theirs, inTheirs, id)
		n := m.document(b, &o, t)
		if n != nil {
			order.add(id, i)
			result[id] = n
		}
	}
	var near *element // the nearest document before it that ours has too
	for i, id := range ids[2] {
		if _, ok := last[id]; ok {
			if e := order.at[id]; e != nil {
				near = e
			}
			continue
		}
		t := m.theirs.docs[i]
		if b := docOf(m.base, inBase, id); b != nil {
			if !equalNodes(b.root, t.root) {
				m.conflict("", b.root, nil, t.root, nil, m.did("%s removed the document, %s changed it", 1, 2))
			}
			continue
		}
		if near == nil {
			return nil, errors.New("a document was added before all others")
		}
		text := m.theirs.between(t.body, 0, t.last)
		at := m.ours.starts[last[near.id]]
		m.spans = append(m.spans, span{at, at, "---\n" + text})
		last[id] = last[near.id]
		near = order.insert(near, id)
		result[id] = t.root
	}
	for id := range order.all {
		want = append(want, result[id])
	}
	return want, nil
}

// document merges one that ours has.
func (m *yamlMerge) document(b, o, t *yamlDoc) *yaml.Node {
	switch {
	case b == nil && t == nil:
		return o.root
	case t == nil:
		if equalNodes(b.root, o.root) && !refersWithin(o.root) {
			m.spans = append(m.spans, span{m.ours.starts[o.first], m.ours.starts[o.last], ""})
			return nil
		}
		m.conflict("", b.root, o.root, nil, nil, m.did("%s removed the document, %s changed it", 2, 1))
		return o.root
	case b == nil:
		if !equalNodes(o.root, t.root) {
			m.conflict("", nil, o.root, t.root, nil, m.did("%s and %s both added the document, with different content", 1, 2))
		}
		return o.root
	}
	return m.node("", nil, b.root, o.root, t.root, ends{o.last, t.last}, nil)
}

func docOf(f *yamlFile, ids map[string]int, id string) *yamlDoc {
	if i, ok := ids[id]; ok {
		return &f.docs[i]
	}
	return nil
}

// matchDocs gives documents that belong together the same name: by what
// Kubernetes would call them, or by number if that cannot be and all three
// files have as many.
func matchDocs(files ...*yamlFile) ([3][]string, error) {
	var ids [3][]string
	named, equal := true, true
	for i, f := range files {
		seen := map[string]bool{}
		for _, d := range f.docs {
			named = named && d.id != "" && !seen[d.id]
			seen[d.id] = true
			ids[i] = append(ids[i], d.id)
		}
		equal = equal && len(f.docs) == len(files[0].docs)
	}
	switch {
	case equal && len(files[0].docs) <= 1:
	case named:
		return ids, nil
	case !equal:
		return ids, errors.New("it is not clear which documents belong together")
	case !slices.Equal(ids[0], ids[1]) || !slices.Equal(ids[0], ids[2]):
		return ids, errors.New("it is not clear which documents belong together")
	}
	for i := range ids {
		for j := range ids[i] {
			ids[i][j] = fmt.Sprint(j)
		}
	}
	return ids, nil
}

// conflict adds a conflict about a value. Where a side has none, the lines are
// those before its parent's.
func (m *yamlMerge) conflict(at string, b, o, t *yaml.Node, parents []*yaml.Node, what string) {
	c := Conflict{Kind: KindContent, Detail: what}
	if place := strings.Trim(m.doc+": "+at, ": "); place != "" {
		c.Detail = strings.TrimSuffix(place+": "+what, ": ")
	}
	side := func(f *yamlFile, n *yaml.Node, i int) Side {
		switch {
		case n != nil:
			from, to := lineRange(n)
			to = min(to, len(f.lines))
			return sideOf(f.lines, max(0, min(from, to)), to)
		case i < len(parents) && parents[i] != nil:
			return Side{First: parents[i].Line, Last: parents[i].Line - 1}
		}
		return Side{First: 1, Last: 0}
	}
	c.Base = side(m.base, b, 0)
	c.Ours, c.Theirs = side(m.ours, o, 1), side(m.theirs, t, 2)
	m.conflicts = append(m.conflicts, c)
}

// did fills in the names of two sides.
func (m *yamlMerge) did(format string, a, b int) string {
	return fmt.Sprintf(format, m.names[a], m.names[b])
}
