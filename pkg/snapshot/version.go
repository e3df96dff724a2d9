package snapshot

import (
	"cmp"
	"fmt"
	"strings"
)

// Version names a snapshot of a pipeline: shop/v1.4.0. It is also the name of
// its tag. The form is chosen so that Argo CD does not take the tag for a
// semantic version (it starts with a word and a slash), that no two pipelines
// of one repository collide, and that versions sort.
type Version struct {
	Pipeline            string
	Major, Minor, Patch int
}

// ParseVersion reads "shop/v1.4.0", and no other spelling of it. A repository has
// thousands of tags that are read at every look, so it takes no regular expression.
func ParseVersion(s string) (Version, error) {
	pipeline, number, isVersion := strings.Cut(s, "/v")
	major, number, hasMinor := strings.Cut(number, ".")
	minor, patch, hasPatch := strings.Cut(number, ".")
	v := Version{Pipeline: pipeline}
	if isVersion && hasMinor && hasPatch && isPipelineName(pipeline) &&
		parseNumber(major, &v.Major) && parseNumber(minor, &v.Minor) && parseNumber(patch, &v.Patch) {
		return v, nil
	}
	return Version{}, fmt.Errorf("%q is not a snapshot version; write <pipeline>/v<major>.<minor>.<patch>, for instance shop/v1.4.0", s)
}

// isPipelineName reports whether a name has nothing but lower-case letters, digits
// and, between those, hyphens.
func isPipelineName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}

// maxDigits of a number in a version.
const maxDigits = 9

// parseNumber reads a decimal number without leading zeros.
func parseNumber(s string, into *int) bool {
	if s == "" || len(s) > maxDigits || s[0] == '0' && len(s) > 1 {
		return false
	}
	n := 0
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return false
		}
		n = 10*n + int(c-'0')
	}
	*into = n
	return true
}

// ParseVersionOf reads a version as people type it: with or without the
// pipeline in front ("v1.4.0", "1.4.0", "shop/v1.4.0").
func ParseVersionOf(pipeline, s string) (Version, error) {
	full := s
	if !strings.Contains(s, "/") {
		full = pipeline + "/v" + strings.TrimPrefix(s, "v")
	}
	v, err := ParseVersion(full)
	if err != nil {
		return v, fmt.Errorf("%q is not a snapshot version; write %s/v1.4.0 or v1.4.0", s, pipeline)
	}
	if v.Pipeline != pipeline {
		return v, fmt.Errorf("snapshot %s belongs to pipeline %q, not to %q", v, v.Pipeline, pipeline)
	}
	return v, nil
}

// String returns the form that ParseVersion reads; the zero Version is "".
func (v Version) String() string {
	if v.IsZero() {
		return ""
	}
	return v.Pipeline + "/" + v.Number()
}

// Number is the version without the pipeline: v1.4.0.
func (v Version) Number() string { return fmt.Sprintf("v%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Ref is the full name of the snapshot's tag: refs/tags/shop/v1.4.0.
func (v Version) Ref() string { return "refs/tags/" + v.String() }

// IsZero reports whether the version is unset.
func (v Version) IsZero() bool { return v == Version{} }

// Compare orders versions of one pipeline by number.
func (v Version) Compare(w Version) int {
	switch { // not cmp.Or, which would compare all of them each time
	case v.Pipeline != w.Pipeline:
		return strings.Compare(v.Pipeline, w.Pipeline)
	case v.Major != w.Major:
		return cmp.Compare(v.Major, w.Major)
	case v.Minor != w.Minor:
		return cmp.Compare(v.Minor, w.Minor)
	default:
		return cmp.Compare(v.Patch, w.Patch)
	}
}

// NextMinor is the version of the next capture from the first environment.
func (v Version) NextMinor() Version {
	return Version{Pipeline: v.Pipeline, Major: v.Major, Minor: v.Minor + 1}
}

// SameLine reports whether two versions differ in their patch at most: v1.4.0 and
// v1.4.1 are of one line.
func (v Version) SameLine(w Version) bool {
	return v.Pipeline == w.Pipeline && v.Major == w.Major && v.Minor == w.Minor
}

// NextPatch is the version of the next composed hotfix.
func (v Version) NextPatch() Version {
	return Version{Pipeline: v.Pipeline, Major: v.Major, Minor: v.Minor, Patch: v.Patch + 1}
}

// MarshalText makes a Version a string in YAML and JSON.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Version) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*v = Version{}
		return nil
	}
	parsed, err := ParseVersion(string(text))
	if err == nil {
		*v = parsed
	}
	return err
}
