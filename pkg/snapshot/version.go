package snapshot

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
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

var versionPattern = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/v(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)

// ParseVersion reads "shop/v1.4.0".
func ParseVersion(s string) (Version, error) {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return Version{}, fmt.Errorf("%q is not a snapshot version; write <pipeline>/v<major>.<minor>.<patch>, for instance shop/v1.4.0", s)
	}
	v := Version{Pipeline: m[1]}
	// The pattern admits at most nine digits, so Atoi cannot fail.
	v.Major, _ = strconv.Atoi(m[2])
	v.Minor, _ = strconv.Atoi(m[3])
	v.Patch, _ = strconv.Atoi(m[4])
	return v, nil
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
