package merge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// patchIDVersion is hashed first, so that ids of another computation differ.
const patchIDVersion = "propagator patch id 1\n"

// PatchID identifies the change from one tree to another: the same change made
// elsewhere, by cherry-pick, rebase or squash, has the same id. It is empty
// where nothing changed; two changes of nothing are not the same change. Files
// and folders in leave do not count.
//
// The id is the SHA-256, in hexadecimal, of these lines: for each changed file
// in the order of the paths "file <kind> <path>" (the path quoted as Go does),
// "mode <old> <new>" if both exist and differ, and then, for text, each removed
// line after "-" and each added line after "+", without any white space, in
// the order of the diff. Line numbers and unchanged lines are left out. What is
// not merged by lines counts as "-<id>" and "+<id>" of its content. A moved
// file is a removed and an added one.
//
// It is evidence, no proof: the same lines may be added to another place of the
// same file.
func PatchID(r gitrepo.Objects, base, head gitrepo.Hash, leave []string) (string, error) {
	changes, err := plainDiff(r, base, head)
	if err != nil {
		return "", fmt.Errorf("patch id: %w", err)
	}
	hash := sha256.New()
	out := func(format string, args ...any) { _, _ = fmt.Fprintf(hash, format, args...) } // a hash never fails
	out(patchIDVersion)
	left, count := newLeaves(leave), 0
	for _, c := range changes {
		if left.covers(c.Path) {
			continue
		}
		count++
		kind := c.Kind
		if kind == Mode {
			kind = Modified
		}
		out("file %s %q\n", kind, c.Path)
		if c.OldMode != "" && c.NewMode != "" && c.OldMode != c.NewMode {
			out("mode %s %s\n", c.OldMode, c.NewMode)
		}
		if c.OldID == c.NewID {
			continue
		}
		if err := hashLines(hash, r, c); err != nil {
			return "", fmt.Errorf("patch id: read %q: %w", c.Path, err)
		}
	}
	if count == 0 {
		return "", nil
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// hashLines writes what a change removed and added.
func hashLines(out io.Writer, r gitrepo.Objects, c Change) error {
	var texts [2]string
	text := true
	for i, e := range []gitrepo.Entry{{Mode: c.OldMode, ID: c.OldID}, {Mode: c.NewMode, ID: c.NewID}} {
		if absent(e) {
			continue
		}
		if !isRegular(e) {
			text = false
			continue
		}
		var err error
		if texts[i], err = readBlob(r, e.ID); err != nil {
			return err
		}
		text = text && isText(texts[i])
	}
	write := func(sign, line string) { _, _ = io.WriteString(out, sign+line+"\n") }
	if !text {
		if c.OldID != "" {
			write("-", string(c.OldID))
		}
		if c.NewID != "" {
			write("+", string(c.NewID))
		}
		return nil
	}
	a, b := splitLines(texts[0]), splitLines(texts[1])
	t := table{}
	for _, h := range diffLines(t.number(a), t.number(b)) {
		for _, line := range a[h.a0:h.a1] {
			write("-", withoutSpace(line))
		}
		for _, line := range b[h.b0:h.b1] {
			write("+", withoutSpace(line))
		}
	}
	return nil
}

func withoutSpace(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, line)
}
