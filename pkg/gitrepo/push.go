package gitrepo

import (
	"fmt"
	"strings"
)

// Validate checks what can be checked without the repository: at least one
// update, well-formed ref names below refs/, each named once, well-formed ids.
// Every implementation calls it before it does anything.
func (p Push) Validate() error {
	if len(p.Updates) == 0 {
		return fmt.Errorf("%w: the push has no updates", ErrRejected)
	}
	seen := make(map[string]bool, len(p.Updates))
	for _, u := range p.Updates {
		switch {
		case !validRefName(u.Ref):
			return fmt.Errorf("%w: %q is not a full ref name", ErrRejected, u.Ref)
		case seen[u.Ref]:
			return fmt.Errorf("%w: %s is updated twice", ErrRejected, u.Ref)
		case u.New == "":
			return fmt.Errorf("%w: %s would be deleted, which is never done", ErrRejected, u.Ref)
		case !u.New.Valid():
			return fmt.Errorf("%w: %s: bad new object id %q", ErrRejected, u.Ref, u.New)
		case u.Old != "" && !u.Old.Valid():
			return fmt.Errorf("%w: %s: bad old object id %q", ErrRejected, u.Ref, u.Old)
		}
		seen[u.Ref] = true
	}
	return nil
}

// Check compares the push with the refs as they are: a *[RefMovedError] for
// the first ref that does not have its Old value, [ErrRejected] for a new ref
// that git cannot store beside an existing one (refs/heads/a next to
// refs/heads/a/b). Nil says that the push had a chance when the refs were
// listed; only the push itself decides.
func (p Push) Check(refs Refs) error {
	for _, u := range p.Updates {
		if got := refs[u.Ref]; got != u.Old {
			return &RefMovedError{Ref: u.Ref, Want: u.Old, Got: got}
		}
	}
	for _, u := range p.Updates {
		if u.Old != "" {
			continue
		}
		for name := range refs {
			if strings.HasPrefix(name, u.Ref+"/") || strings.HasPrefix(u.Ref, name+"/") {
				return fmt.Errorf("%w: %s cannot exist beside %s; choose another name", ErrRejected, u.Ref, name)
			}
		}
	}
	return nil
}

// validRefName applies the rules of git-check-ref-format that matter for a
// name below refs/.
func validRefName(name string) bool {
	rest, ok := strings.CutPrefix(name, "refs/")
	if !ok || !strings.Contains(rest, "/") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\", c) >= 0 {
			return false
		}
	}
	return true
}
