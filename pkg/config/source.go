package config

import (
	"fmt"
	"slices"
	"strings"
)

// CaptureMode is one thing that makes a source commit a snapshot.
type CaptureMode string

// The values of CaptureMode.
const (
	// CaptureSync: the first environment runs the commit and is healthy.
	CaptureSync CaptureMode = "sync"
	// CaptureTag: a person set a tag on the commit.
	CaptureTag CaptureMode = "tag"
)

// Captures reports whether the mode is in force. Without any, sync is.
func (s Source) Captures(mode CaptureMode) bool {
	if len(s.Capture) == 0 {
		return mode == CaptureSync
	}
	return slices.Contains(s.Capture, mode)
}

// MatchTag returns what the * of Tags stands for in the name of a tag (without
// refs/tags/); false when the name has another form. Names with a slash never
// match: they are Propagator's own.
func (s Source) MatchTag(name string) (version string, ok bool) {
	prefix, suffix, ok := strings.Cut(s.Tags, "*")
	if !ok || strings.Contains(name, "/") {
		return "", false
	}
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", false
	}
	version, ok = strings.CutSuffix(rest, suffix)
	return version, ok && version != ""
}

// maxTagPattern leaves room for the version: a tag of an image has at most 128
// characters.
const maxTagPattern = 90

// tagsFault checks the form of the tags that are captured. Images get the same
// tag, so it has to be a name to both git and registries.
func tagsFault(s string) string {
	sample := strings.Replace(s, "*", "1.5.0", 1)
	switch {
	case strings.Contains(s, "/"):
		return quote(s) + " has a slash; such tags are Propagator's own (shop/v1.4.0, approve/…)"
	case strings.Count(s, "*") != 1:
		return quote(s) + " needs exactly one *, which stands for the version, as in v* for v1.5.0"
	case len(s) > maxTagPattern:
		return fmt.Sprintf("%s is longer than %d characters", quote(s), maxTagPattern)
	case !tagPattern.MatchString(sample) || branchFault(sample) != "":
		return quote(s) + " cannot be the tag of a commit and of an image: letters, digits, dots, dashes and underscores only, and neither a dot nor a dash in front"
	}
	return ""
}

func (r *report) checkSource(s Source) {
	r.check("source.branch", s.Branch, sourceBranchFault)
	for i, mode := range s.Capture {
		if mode != "" && slices.Contains(s.Capture[:i], mode) {
			r.add(fmt.Sprintf("source.capture[%d]", i), "%s is listed twice", mode)
		}
	}
	r.check("source.tags", s.Tags, tagsFault)
	if r.written("source.tags") && !r.anyFaulty("source.capture") && !s.Captures(CaptureTag) {
		r.add("source.tags", "has no effect, because tags are not captured; write capture: tag, or remove it")
	}
}

// anyFaulty reports a fault of the field or of anything in it.
func (r *report) anyFaulty(path string) bool {
	for faulty := range r.faulty {
		if faulty == path || strings.HasPrefix(faulty, path+"[") {
			return true
		}
	}
	return false
}
