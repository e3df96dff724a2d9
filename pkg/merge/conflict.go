package merge

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says what stands against each other in a [Conflict].
type Kind string

// The kinds of conflict.
const (
	// KindContent: both sides changed the same lines, or the same value of a
	// YAML file.
	KindContent Kind = "content"
	// KindWhole: both sides changed a file that is only merged as a whole: a
	// binary or very large file, a symlink, a submodule.
	KindWhole Kind = "whole"
	// KindDeleted: one side removed what the other changed.
	KindDeleted Kind = "deleted"
	// KindAdded: both sides added a file, with different content.
	KindAdded Kind = "added"
	// KindType: a file on one side, something else (directory, symlink,
	// submodule) on the other.
	KindType Kind = "type"
	// KindMode: both sides changed the mode, differently.
	KindMode Kind = "mode"
	// KindRename: a side moved a file and it is not certain where to.
	KindRename Kind = "rename"
)

// The most that a [Side] keeps of a part of a file.
const (
	maxSideLines = 20
	maxSideBytes = 200 // of a line
)

// Side is one version of what a [Conflict] is about.
type Side struct {
	// Name of the side for people: that of the [Options], or "base".
	Name string
	// Path of the file on that side where a side moved it; empty where it is the
	// conflict's.
	Path string
	// First and Last are lines of that side's file, from 1. An empty part has
	// Last = First-1 and lies before line First. Both are 0 where the conflict
	// is not about lines.
	First, Last int
	// Lines without their ends; at most 20, each at most 200 bytes long.
	Lines []string
}

// Conflict is one place where a merge has no answer.
type Conflict struct {
	Path string
	Kind Kind
	// Ours, Theirs and Base are the three versions.
	Ours, Theirs, Base Side
	// Detail says in words what each side did, or which value of a YAML file
	// it is about.
	Detail string
}

// String is one line for people: the file, the lines and what each side did.
func (c Conflict) String() string {
	if c.Ours.First == 0 && c.Theirs.First == 0 {
		return fmt.Sprintf("%s: %s", c.Path, c.Detail)
	}
	place := "both sides changed the same place"
	if c.Detail != "" {
		place = c.Detail
	}
	return fmt.Sprintf("%s: %s: %s; %s", c.Path, place, c.Ours.did(c.Base), c.Theirs.did(c.Base))
}

// did tells what the side made of the base's lines.
func (s Side) did(base Side) string {
	at := s.Name
	if s.Path != "" {
		at += ", " + s.Path
	}
	if s.Last > s.First {
		at += fmt.Sprintf(", lines %d-%d", s.First, s.Last)
	} else {
		at += fmt.Sprintf(", line %d", s.First)
	}
	switch {
	case len(s.Lines) == 0 && len(base.Lines) > 0:
		return fmt.Sprintf("%s: removed %s", at, base.excerpt())
	case len(s.Lines) == 0:
		return fmt.Sprintf("%s: nothing there", at)
	case len(base.Lines) == 0:
		return fmt.Sprintf("%s: added %s", at, s.excerpt())
	}
	return fmt.Sprintf("%s: %s", at, s.excerpt())
}

// excerpt quotes the first lines of a side.
func (s Side) excerpt() string {
	const most = 3
	var quoted []string
	for _, line := range s.Lines[:min(most, len(s.Lines))] {
		quoted = append(quoted, strconv.Quote(strings.TrimSpace(line)))
	}
	if more := s.Last - s.First + 1 - len(quoted); more > 0 {
		quoted = append(quoted, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(quoted, ", ")
}

// sideOf describes lines [from,to) of a file.
func sideOf(lines []string, from, to int) Side {
	s := Side{First: from + 1, Last: to}
	for _, line := range lines[from:min(to, from+maxSideLines)] {
		s.Lines = append(s.Lines, clip(strings.TrimRight(line, "\r\n")))
	}
	return s
}

// clip bounds a line without cutting a character.
func clip(line string) string {
	if len(line) <= maxSideBytes {
		return line
	}
	cut := maxSideBytes - len("…")
	for cut > 0 && !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "…"
}

func compareConflicts(a, b Conflict) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Ours.First, b.Ours.First),
		cmp.Compare(a.Theirs.First, b.Theirs.First), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Detail, b.Detail))
}
