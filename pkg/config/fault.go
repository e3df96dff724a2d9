package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in a configuration file.
type Fault struct {
	// File as given to Parse.
	File string
	// Line and Column count from 1. They point to the value, or, when a field
	// is missing, to what it is missing from.
	Line, Column int
	// Field is the dotted path, such as environments[1].after; empty for the
	// file as a whole.
	Field string
	// Message says what is wrong and what to write instead. It never contains
	// credentials.
	Message string
}

// String returns the fault as one line: propagator.yaml:12: source.branch: ….
func (f Fault) String() string {
	if f.Field == "" {
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Field, f.Message)
}

// Faults is everything that is wrong in a file, in the order of its lines. It
// is the type of the errors that Parse returns.
type Faults []Fault

// maxPrinted bounds the text of an error; nobody repairs more at once, and a
// hostile file should not fill a log.
const maxPrinted = 100

// Error prints one fault a line.
func (f Faults) Error() string {
	lines := make([]string, 0, min(len(f), maxPrinted)+1)
	for _, fault := range f[:min(len(f), maxPrinted)] {
		lines = append(lines, fault.String())
	}
	if more := len(f) - maxPrinted; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more faults", more))
	}
	return strings.Join(lines, "\n")
}

// position is where a value stands in the file.
type position struct{ line, column int }

// report collects faults. Fields are named by path, so that checks can work on
// the decoded values and still report lines.
type report struct {
	file      string
	faults    Faults
	positions map[string]position
	faulty    map[string]bool
}

func newReport(file string) *report {
	if file == "" {
		file = File
	}
	return &report{file: file, positions: map[string]position{}, faulty: map[string]bool{}}
}

// add reports a fault of the field at path.
func (r *report) add(path, format string, args ...any) {
	r.addAt(r.position(path), path, format, args...)
}

func (r *report) addAt(at position, path, format string, args ...any) {
	r.faulty[path] = true
	r.faults = append(r.faults, Fault{
		File: r.file, Line: at.line, Column: at.column,
		Field: path, Message: fmt.Sprintf(format, args...),
	})
}

// written reports whether the file gives the field, well or badly.
func (r *report) written(path string) bool {
	_, ok := r.positions[path]
	return ok
}

// position of the field, or of the nearest thing around it that is written.
func (r *report) position(path string) position {
	for {
		if at, ok := r.positions[path]; ok {
			return at
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	if at, ok := r.positions[""]; ok {
		return at
	}
	return position{line: 1, column: 1}
}

// err returns the faults sorted, or nil when there are none.
func (r *report) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Field, b.Field))
	})
	return r.faults
}
