package merge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// maxMergeSize is the size in bytes above which a file is merged as a whole
// only. Manifests are far below; what is above is data.
const maxMergeSize = 8 << 20

// file merges a path at which no side has a directory. It is only called where
// theirs differs from the base and from ours.
func (m *treeMerge) file(path string, b, o, t gitrepo.Entry) error {
	switch {
	case same(o, b):
		m.edits.set(path, t)
		return nil
	case absent(t):
		return m.movedByTheirs(path, b, o)
	case absent(o):
		if absent(b) {
			m.edits.set(path, t)
			return nil
		}
		return m.movedByOurs(path, b, t)
	case absent(b):
		return m.added(path, o, t)
	}
	entry, ok, err := m.entry(path, [3]string{path, path, path}, b, o, t)
	if err == nil && ok {
		m.edits.set(path, entry)
	}
	return err
}

// added merges a file that both sides added.
func (m *treeMerge) added(path string, o, t gitrepo.Entry) error {
	detail := fmt.Sprintf("%s and %s both added it, with different content", m.ours, m.theirs)
	switch {
	case what(o) != what(t):
		m.conflict(path, KindType, fmt.Sprintf("%s added %s here, %s added %s", m.ours, what(o), m.theirs, what(t)))
		return nil
	case o.ID == t.ID:
		m.conflict(path, KindMode, fmt.Sprintf("%s and %s both added it, with modes %s and %s", m.ours, m.theirs, o.Mode, t.Mode))
		return nil
	case m.origins[path].Path != "":
		was := m.origins[path]
		entry, ok, err := m.entry(path, [3]string{was.Path, path, path}, gitrepo.Entry{Mode: was.OldMode, ID: was.OldID}, o, t)
		if err == nil && ok {
			m.edits.set(path, entry)
		}
		return err
	case isRegular(o) && o.Mode == t.Mode:
		ours, err := readBlob(m.overlay, o.ID)
		if err != nil {
			return fmt.Errorf("read %q of %s: %w", path, m.ours, err)
		}
		theirs, err := readBlob(m.overlay, t.ID)
		if err != nil {
			return fmt.Errorf("read %q of %s: %w", path, m.theirs, err)
		}
		if isText(ours) && isText(theirs) && strings.ReplaceAll(ours, "\r\n", "\n") == strings.ReplaceAll(theirs, "\r\n", "\n") {
			return nil // the line ends of ours stay
		}
	}
	m.conflict(path, KindAdded, detail)
	return nil
}

// entry merges a file that all three have, mode and content each by itself.
// The paths are where base, ours and theirs have it; path is where conflicts
// are reported. False: there was a conflict.
func (m *treeMerge) entry(path string, paths [3]string, b, o, t gitrepo.Entry) (gitrepo.Entry, bool, error) {
	if !isRegular(b) || !isRegular(o) || !isRegular(t) {
		m.conflict(path, kindOf(b, o, t), fmt.Sprintf("base has %s, %s and %s both changed it, to %s and %s", what(b), m.ours, m.theirs, what(o), what(t)))
		return o, false, nil
	}
	merged, ok := o, true
	switch {
	case t.Mode == b.Mode, t.Mode == o.Mode:
	case o.Mode == b.Mode:
		merged.Mode = t.Mode
	default:
		m.conflict(path, KindMode, fmt.Sprintf("%s changed the mode to %s, %s to %s", m.ours, o.Mode, m.theirs, t.Mode))
		ok = false
	}
	switch {
	case t.ID == b.ID, t.ID == o.ID:
	case o.ID == b.ID:
		merged.ID = t.ID
	default:
		text, clean, err := m.content(path, paths, b, o, t)
		if err != nil {
			return o, false, err
		}
		if ok = ok && clean; ok {
			merged.ID = m.put(gitrepo.NewBlob([]byte(text)))
		}
	}
	return merged, ok, nil
}

func kindOf(b, o, t gitrepo.Entry) Kind {
	if what(b) == what(o) && what(o) == what(t) {
		return KindWhole
	}
	return KindType
}

// content merges three different contents. False: there was a conflict.
func (m *treeMerge) content(path string, paths [3]string, b, o, t gitrepo.Entry) (string, bool, error) {
	names := [3]string{"base", m.ours, m.theirs}
	var texts [3]string
	for i, e := range []gitrepo.Entry{b, o, t} {
		var err error
		if texts[i], err = readBlob(m.overlay, e.ID); err != nil {
			return "", false, fmt.Errorf("read %q of %s: %w", paths[i], names[i], err)
		}
	}
	for i, text := range texts {
		if !isText(text) {
			m.conflict(path, KindWhole, fmt.Sprintf("%s and %s both changed it, and it is merged as a whole only: %s in %s",
				m.ours, m.theirs, notText(text), names[i]))
			return "", false, nil
		}
	}
	text, conflicts, more := mergeFile(paths[1], names, texts[0], texts[1], texts[2])
	if more {
		m.beside = append(m.beside, path)
	}
	for _, c := range conflicts {
		c.Path = path
		for i, side := range []*Side{&c.Base, &c.Ours, &c.Theirs} {
			if side.Name = names[i]; paths[i] != path {
				side.Path = paths[i]
			}
		}
		m.conflicts = append(m.conflicts, c)
	}
	return text, len(conflicts) == 0, nil
}

// isText reports whether a content is merged line by line.
func isText(content string) bool { return notText(content) == "" }

func notText(content string) string {
	switch {
	case len(content) > maxMergeSize:
		return fmt.Sprintf("more than %d MiB", maxMergeSize>>20)
	case strings.IndexByte(content, 0) >= 0:
		return "binary"
	}
	return ""
}

// mergeFile merges three texts; the name says whether it is YAML. With
// conflicts the text is that of ours, and more says whether theirs changes other
// parts of it as well.
func mergeFile(name string, names [3]string, base, ours, theirs string) (text string, conflicts []Conflict, more bool) {
	m := mergeText(base, ours, theirs)
	if len(m.conflicts) == 0 {
		if isYAML(name) && m.text != ours && m.text != theirs && breaks(m.text, base, ours, theirs) {
			return mergeBroken(names, base, ours, theirs)
		}
		return m.text, nil, false
	}
	more = m.text != ours
	why := ""
	if isYAML(name) {
		text, conflicts, beside, err := mergeManifest(names, base, ours, theirs, m.text)
		if len(conflicts) > 0 {
			return ours, conflicts, more || beside
		}
		if err == nil {
			return text, nil, false
		}
		why = "not merged as YAML: " + err.Error()
	}
	for _, r := range m.conflicts {
		conflicts = append(conflicts, Conflict{
			Kind: KindContent, Detail: why,
			Base: sideOf(m.base, r.base[0], r.base[1]),
			Ours: sideOf(m.ours, r.ours[0], r.ours[1]), Theirs: sideOf(m.theirs, r.theirs[0], r.theirs[1]),
		})
	}
	return ours, conflicts, more
}

// mergeBroken merges by structure what merges by lines into something that nobody
// can read: both sides have added the same key, each at another place.
func mergeBroken(names [3]string, base, ours, theirs string) (string, []Conflict, bool) {
	text, conflicts, beside, err := mergeManifest(names, base, ours, theirs, ours)
	if err != nil && len(conflicts) == 0 {
		conflicts = []Conflict{{
			Kind: KindContent, Detail: "merged by lines it would not be valid YAML, and not merged as YAML: " + err.Error(),
			Base: Side{Name: names[0]}, Ours: Side{Name: names[1]}, Theirs: Side{Name: names[2]},
		}}
	}
	if len(conflicts) > 0 {
		return ours, conflicts, beside
	}
	return text, nil, false
}

// breaks reports whether a merged text cannot be read as YAML, although the texts
// that it was merged from can.
func breaks(merged string, from ...string) bool {
	readable := func(text string) bool {
		_, err := parseYAML(strings.ReplaceAll(text, "\r\n", "\n"))
		return err == nil
	}
	return !readable(merged) && !slices.ContainsFunc(from, func(text string) bool { return !readable(text) })
}
