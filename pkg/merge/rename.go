package merge

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// The bounds of the search for a moved file.
const (
	maxMoveCandidates = 200
	maxMoveSize       = 1 << 20 // bytes of a candidate whose lines are compared
)

// moves finds where a side moved a file to. Nothing is read before the first
// question.
type moves struct {
	*overlay
	base, ours, theirs gitrepo.Hash
	leave              leaves

	added map[gitrepo.Hash][]Change // files that the base has not, by side's tree
	used  map[string]bool           // answers given; a file comes from one place
}

// find returns the file that a side has in place of a base's file. When there
// is none, or no single best one, it says so in words.
func (m *moves) find(side gitrepo.Hash, was string, b gitrepo.Entry) (to Change, why string, err error) {
	if !isRegular(b) {
		return to, "", nil
	}
	if _, ok := m.added[side]; !ok {
		changes, err := plainDiff(m.overlay, m.base, side)
		if err != nil {
			return to, "", err
		}
		if m.added == nil {
			m.added = map[gitrepo.Hash][]Change{}
		}
		var added []Change
		for _, c := range changes {
			if c.Kind == Added && isRegular(gitrepo.Entry{Mode: c.NewMode}) && !m.leave.covers(c.Path) {
				added = append(added, c)
			}
		}
		m.added[side] = added
	}
	best, err := m.best(m.added[side], was, b)
	switch {
	case err != nil || len(best) == 0:
		return to, "", err
	case len(best) > 1:
		return to, fmt.Sprintf("it may have moved to %s or to %s", best[0].Path, best[1].Path), nil
	case m.used[best[0].Path]:
		return to, fmt.Sprintf("it may have moved to %s, but so may another file", best[0].Path), nil
	}
	m.used[best[0].Path] = true
	return best[0], "", nil
}

// best returns the candidates that are most like the base's file: those with
// its very content, else those that share the most lines with it, which must be
// more than half.
func (m *moves) best(candidates []Change, was string, b gitrepo.Entry) ([]Change, error) {
	var exact, sameName []Change
	for _, c := range candidates {
		if c.NewID == b.ID {
			exact = append(exact, c)
			if path.Base(c.Path) == path.Base(was) {
				sameName = append(sameName, c)
			}
		}
	}
	if len(sameName) == 1 {
		return sameName, nil
	}
	if len(exact) > 0 || len(candidates) > maxMoveCandidates {
		return exact, nil
	}
	text, err := readBlob(m.overlay, b.ID)
	if err != nil {
		return nil, fmt.Errorf("read %q of the base: %w", was, err)
	}
	if len(text) > maxMoveSize || !isText(text) {
		return nil, nil
	}
	var out []Change
	most := 0.5
	objects := objectsOf(was, text)
	for _, c := range candidates {
		other, err := readBlob(m.overlay, c.NewID)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", c.Path, err)
		}
		if len(other) > maxMoveSize || !isText(other) {
			continue
		}
		// Manifests are alike; one of another object is not the same file.
		if has := objectsOf(c.Path, other); len(has) > 0 && len(objects) > 0 && !slices.ContainsFunc(has, func(id string) bool { return slices.Contains(objects, id) }) {
			continue
		}
		switch share := similarity(text, other); {
		case share > most:
			out, most = []Change{c}, share
		case share == most && len(out) > 0:
			out = append(out, c)
		}
	}
	return out, nil
}

// similarity is the share of lines that two texts have in common, wherever
// they stand, of the longer one. Line ends and indentation do not count, nor do
// empty lines.
func similarity(a, b string) float64 {
	count := map[string]int{}
	lines := func(text string, each func(string)) (n int) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				n++
				each(line)
			}
		}
		return n
	}
	inA := lines(a, func(line string) { count[line]++ })
	common := 0
	inB := lines(b, func(line string) {
		if count[line] > 0 {
			count[line]--
			common++
		}
	})
	if inA == 0 || inB == 0 {
		return 0
	}
	return float64(common) / float64(max(inA, inB))
}

// objectsOf names the objects of Kubernetes in a YAML file; without their API
// versions, which change.
func objectsOf(name, text string) (out []string) {
	if !isYAML(name) {
		return nil
	}
	f, err := parseYAML(strings.ReplaceAll(text, "\r\n", "\n"))
	if err != nil {
		return nil
	}
	for _, d := range f.docs {
		if d.id != "" {
			_, id, _ := strings.Cut(d.id, " ")
			out = append(out, id)
		}
	}
	return out
}

// movedByBoth looks at the files of the base that neither side has any more.
// Where both moved one to the same place, that is what a merge of the two
// starts from; where they moved it to different places, it is a conflict.
func (m *treeMerge) movedByBoth() error {
	changes, err := plainDiff(m.overlay, m.moves.base, m.moves.theirs)
	if err != nil {
		return err
	}
	for _, c := range changes {
		b := gitrepo.Entry{Mode: c.OldMode, ID: c.OldID}
		if c.Kind != Removed || !isRegular(b) || m.leave.covers(c.Path) {
			continue
		}
		if there, err := m.lookup(m.moves.ours, c.Path); err != nil || !absent(there) {
			if err != nil {
				return err
			}
			continue
		}
		theirs, _, err := m.moves.find(m.moves.theirs, c.Path, b)
		if err != nil || theirs.Path == "" {
			if err != nil {
				return err
			}
			continue
		}
		delete(m.moves.used, theirs.Path) // the same place in ours is no second file
		ours, _, err := m.moves.find(m.moves.ours, c.Path, b)
		switch {
		case err != nil:
			return err
		case ours.Path == "":
		case ours.Path == theirs.Path:
			m.origins[ours.Path] = Change{Path: c.Path, OldMode: b.Mode, OldID: b.ID}
		default:
			there, err := m.lookup(m.moves.ours, theirs.Path)
			if err != nil {
				return err
			}
			if absent(there) {
				m.conflict(theirs.Path, KindRename, fmt.Sprintf("%s moved %s to %s, %s moved it here", m.ours, c.Path, ours.Path, m.theirs))
				m.moved = append(m.moved, Change{Path: theirs.Path})
			}
		}
	}
	return nil
}

// movedByOurs merges what theirs changed in a file that ours does not have any
// more, into the file that ours has in its place.
func (m *treeMerge) movedByOurs(path string, b, t gitrepo.Entry) error {
	to, why, err := m.moves.find(m.moves.ours, path, b)
	if err != nil {
		return err
	}
	if to.Path == "" {
		m.deleted(path, why, m.ours, m.theirs)
		return nil
	}
	there, err := m.lookup(m.moves.theirs, to.Path)
	if err != nil {
		return err
	}
	if !absent(there) {
		m.conflict(path, KindRename, fmt.Sprintf("%s moved it to %s, where %s has another file; %s changed it", m.ours, to.Path, m.theirs, m.theirs))
		return nil
	}
	entry, ok, err := m.entry(to.Path, [3]string{path, to.Path, path}, b, gitrepo.Entry{Mode: to.NewMode, ID: to.NewID}, t)
	if err == nil && ok {
		m.follow(to.Path, path, entry)
	}
	return err
}

// movedByTheirs merges what ours changed in a file that theirs does not have
// any more, into the file that theirs has in its place.
func (m *treeMerge) movedByTheirs(path string, b, o gitrepo.Entry) error {
	to, why, err := m.moves.find(m.moves.theirs, path, b)
	if err != nil {
		return err
	}
	if to.Path == "" {
		m.deleted(path, why, m.theirs, m.ours)
		return nil
	}
	there, err := m.lookup(m.moves.ours, to.Path)
	if err != nil {
		return err
	}
	if !absent(there) {
		m.conflict(path, KindRename, fmt.Sprintf("%s moved it to %s, where %s has %s; %s changed it", m.theirs, to.Path, m.ours, what(there), m.ours))
		return nil
	}
	entry, ok, err := m.entry(path, [3]string{path, path, to.Path}, b, o, gitrepo.Entry{Mode: to.NewMode, ID: to.NewID})
	if err == nil && ok {
		m.edits.set(path, gitrepo.Entry{})
		m.follow(to.Path, path, entry)
	}
	return err
}

// follow notes what a moved file becomes. It is written after all else, because
// the walk may come to its new place later.
func (m *treeMerge) follow(path, was string, entry gitrepo.Entry) {
	m.moved = append(m.moved, Change{Path: path, Origin: was, NewMode: entry.Mode, NewID: entry.ID})
}

// deleted is the conflict of a file that one side removed and the other changed.
func (m *treeMerge) deleted(path, why, remover, changer string) {
	kind, detail := KindDeleted, fmt.Sprintf("%s removed it, %s changed it", remover, changer)
	if why != "" {
		kind, detail = KindRename, detail+"; "+why
	}
	m.conflict(path, kind, detail)
}

// lookup finds what a tree has at a path, or in the way to it.
func (m *treeMerge) lookup(tree gitrepo.Hash, path string) (gitrepo.Entry, error) {
	entry, at := rootEntry(tree), ""
	for path != "" && isDir(entry) {
		t, err := readTree(m.overlay, entry.ID)
		if err != nil {
			return entry, fmt.Errorf("read directory %q: %w", at, err)
		}
		var name string
		name, path, _ = strings.Cut(path, "/")
		at = join(at, name)
		entry, _ = t.Find(name)
	}
	return entry, nil
}
