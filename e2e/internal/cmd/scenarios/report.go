package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// report collects what the suites print, and shows of each scenario its result
// and what it has to say. It is safe for concurrent use.
type report struct {
	begin time.Time

	mu      sync.Mutex // guards the fields below
	out     io.Writer
	results map[string]result
	faults  []string
}

// result of a scenario: PASS, FAIL or SKIP.
type result struct {
	word  string
	took  string
	suite int
}

func newReport(out io.Writer) *report {
	return &report{begin: time.Now(), out: out, results: map[string]result{}}
}

// suite takes the output of one. It is an io.Writer for one goroutine.
func (r *report) suite(number int) *output {
	return &output{report: r, number: number, said: map[string][]string{}}
}

type output struct {
	report *report
	number int
	rest   []byte // of a line that has not ended
	// speaks is the scenario whose lines come now, and said are those of each that
	// has not ended; what none has printed goes with the next that ends.
	speaks string
	said   map[string][]string
}

// claimedByAnother is what a scenario says that another suite plays.
const claimedByAnother = "another suite plays it"

var (
	resultLine = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \((\S+)\)`)
	// Scenarios that are played side by side take turns. A part of one speaks for it.
	turnLine = regexp.MustCompile(`^=== (?:RUN|CONT|NAME|PAUSE) +([^\s/]+)`)
)

func (o *output) Write(p []byte) (int, error) {
	o.rest = append(o.rest, p...)
	for {
		line, rest, whole := bytes.Cut(o.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		o.rest = rest
		o.line(string(line))
	}
}

func (o *output) line(line string) {
	if turn := turnLine.FindStringSubmatch(line); turn != nil {
		o.speaks = turn[1]
		return
	}
	match := resultLine.FindStringSubmatch(line)
	if match == nil {
		// A scenario's parts are listed after it, and have spoken before.
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(strings.TrimSpace(line), "--- ") {
			o.said[o.speaks] = append(o.said[o.speaks], line)
		}
		return
	}
	said := slices.Concat(o.said[""], o.said[match[2]])
	delete(o.said, "")
	delete(o.said, match[2])
	if o.speaks == match[2] {
		o.speaks = ""
	}
	if match[1] == "SKIP" && slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, claimedByAnother) }) {
		return
	}
	o.report.add(match[2], result{match[1], match[3], o.number}, said)
}

// ended takes the end of a suite's process.
func (o *output) ended(err error) {
	o.report.mu.Lock()
	defer o.report.mu.Unlock()
	if err != nil {
		// Its scenarios have said why, or it did not get as far as that.
		lines := []string{fmt.Sprintf("suite %d: %v", o.number, err)}
		for _, scenario := range slices.Sorted(maps.Keys(o.said)) {
			lines = append(lines, o.said[scenario]...)
		}
		o.report.faults = append(o.report.faults, strings.Join(lines, "\n  "))
	}
}

func (r *report) add(name string, is result, said []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[name] = is
	_, _ = fmt.Fprintf(r.out, "%7s  %s  %-48s %9s  suite %d\n", time.Since(r.begin).Round(time.Second), is.word, name, is.took, is.suite)
	for _, line := range said {
		_, _ = fmt.Fprintf(r.out, "         %s\n", line)
	}
}

// finish returns an error unless each of the scenarios has passed or said why it
// was skipped.
func (r *report) finish(names []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := map[string]int{}
	for _, name := range names {
		is, ok := r.results[name]
		if !ok {
			is.word = "not played"
		}
		count[is.word]++
		switch is.word {
		case "FAIL":
			r.faults = append(r.faults, name+" failed")
		case "not played":
			r.faults = append(r.faults, name+" was not played")
		}
	}
	_, _ = fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped, %d not played, after %s\n",
		count["PASS"], count["FAIL"], count["SKIP"], count["not played"], time.Since(r.begin).Round(time.Second))
	if count["PASS"] == 0 {
		r.faults = append(r.faults, "none has passed")
	}
	if len(r.faults) > 0 {
		return fmt.Errorf("scenarios:\n%s", strings.Join(r.faults, "\n"))
	}
	return nil
}
