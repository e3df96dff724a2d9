package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CaptureMode is one thing that makes a source commit a snapshot.
type CaptureMode string

// The values of CaptureMode.
const (
	// CaptureSync: the first environment runs the commit and is healthy.
	CaptureSync CaptureMode = "sync"
	// CaptureTag: a person set a tag on the commit.
	CaptureTag CaptureMode = "tag"
	// CaptureSchedule: a time of Source.Schedule has passed, and the first
	// environment runs the commit and is healthy.
	CaptureSchedule CaptureMode = "schedule"
	// CaptureManual: a person ran propagator snapshot create.
	CaptureManual CaptureMode = "manual"
)

// Captures reports whether the mode is in force. Without any, sync is.
func (s Source) Captures(mode CaptureMode) bool {
	if len(s.Capture) == 0 {
		return mode == CaptureSync
	}
	return slices.Contains(s.Capture, mode)
}

// FollowsFirst reports whether commits are captured because the first environment
// runs them, sooner or later.
func (s Source) FollowsFirst() bool { return s.Captures(CaptureSync) || s.Captures(CaptureSchedule) }

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
		at := fmt.Sprintf("source.capture[%d]", i)
		if mode != "" && slices.Contains(s.Capture[:i], mode) {
			r.add(at, "%s is listed twice", mode)
		} else if other, why := contradicted(mode, s.Capture[:i]); why != "" {
			r.add(at, "%s contradicts %s: %s; keep one", mode, other, why)
		}
	}
	r.check("source.tags", s.Tags, tagsFault)
	if r.anyFaulty("source.capture") {
		return // what else belongs there is not known
	}
	if r.written("source.tags") && !s.Captures(CaptureTag) {
		r.add("source.tags", "has no effect, because tags are not captured; write capture: tag, or remove it")
	}
	r.checkSchedule(s)
	r.checkQuiet(s)
}

// contradicted finds one of the modes that cannot be in force beside another, and
// says why not.
func contradicted(mode CaptureMode, others []CaptureMode) (other CaptureMode, why string) {
	for _, other := range others {
		switch {
		case other == "" || mode == "" || other == mode:
		case mode == CaptureManual || other == CaptureManual:
			return other, "with manual, nothing is captured by itself"
		case mode != CaptureTag && other != CaptureTag:
			return other, "with sync, there is nothing left for the scheduled time"
		}
	}
	return "", ""
}

func (r *report) checkSchedule(s Source) {
	const at = "source.schedule"
	switch {
	case s.Schedule == nil && s.Captures(CaptureSchedule) && !r.written(at):
		r.add(at, `is missing; with capture: schedule, write for instance {cron: "0 17 * * 1-5", timezone: Europe/Berlin}`)
	case s.Schedule == nil || r.faulty[at]:
	case !s.Captures(CaptureSchedule):
		r.add(at, "has no effect, because nothing is captured at scheduled times; write capture: schedule, or remove it")
	default:
		r.check(at+".cron", s.Schedule.Cron, cronFault)
		r.checkTimezone(at+".timezone", s.Schedule.Timezone)
	}
}

// maxQuiet bounds how long a commit may wait for the branch to be quiet; who
// wants more wants a schedule.
const maxQuiet = 24 * time.Hour

func (r *report) checkQuiet(s Source) {
	const quiet, most = "source.quiet", "source.quietAtMost"
	switch {
	case r.written(quiet) && !s.Captures(CaptureSync):
		r.add(quiet, "has no effect, because commits are not captured when they are synced; write capture: sync, or remove it")
	case r.written(most) && !r.written(quiet):
		r.add(most, "has no effect without source.quiet")
	case r.written(quiet):
		r.checkLasts(quiet, s.Quiet, maxQuiet)
		if r.written(most) && !r.faulty[quiet] {
			r.checkLasts(most, s.QuietAtMost, maxQuiet)
			if !r.faulty[most] && s.QuietAtMost < s.Quiet {
				r.add(most, "is %s, less than source.quiet, which is %s", s.QuietAtMost, s.Quiet)
			}
		}
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
