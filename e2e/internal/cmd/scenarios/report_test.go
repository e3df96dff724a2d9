package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	passed  = "=== RUN   TestA\n    a_test.go:1: took 3 s\n--- PASS: TestA (3.10s)\n"
	claimed = "=== RUN   TestB\n    suite_test.go:9: " + claimedByAnother + "\n--- SKIP: TestB (0.00s)\n"
	failed  = "=== RUN   TestB\n=== RUN   TestB/part\n    b_test.go:7: is wrong\n--- FAIL: TestB (2.00s)\n    --- FAIL: TestB/part (1.00s)\n"
	skipped = "=== RUN   TestB\n    b_test.go:7: no node here\n--- SKIP: TestB (0.00s)\n"
)

// TestReport: the scenarios of all suites together count.
func TestReport(t *testing.T) {
	for _, test := range []struct {
		name   string
		suites []string
		ends   []error
		prints []string
		fault  string
	}{
		{
			name: "one suite has passed each", suites: []string{passed + claimed, claimed + "--- PASS: TestB (1.00s)\n"}, ends: make([]error, 2),
			prints: []string{"took 3 s", "2 passed, 0 failed, 0 skipped, 0 not played"},
		},
		{
			name: "one has failed", suites: []string{passed, failed}, ends: []error{nil, errors.New("exit status 1")},
			prints: []string{"is wrong", "1 passed, 1 failed"}, fault: "TestB failed",
		},
		{
			name: "skipped for a reason", suites: []string{passed + skipped}, ends: make([]error, 1),
			prints: []string{"no node here", "1 passed, 0 failed, 1 skipped"},
		},
		{
			name: "died before it began", suites: []string{passed, "the suite does not start: no etcd\n"}, ends: []error{nil, errors.New("exit status 1")},
			prints: []string{"1 not played"}, fault: "the suite does not start: no etcd\nTestB was not played",
		},
		{
			name: "side by side", suites: []string{"=== RUN   TestA\n=== PAUSE TestA\n=== RUN   TestB\n=== PAUSE TestB\n=== CONT  TestB\n=== CONT  TestA\n    a_test.go:1: took 3 s\n" +
				"=== NAME  TestB/part\n    b_test.go:7: is wrong\n=== NAME  TestA\n    a_test.go:2: and more\n--- FAIL: TestB (2.00s)\n    --- FAIL: TestB/part (1.00s)\n--- PASS: TestA (3.10s)\n"}, ends: make([]error, 1),
			prints: []string{"suite 1\n             b_test.go:7: is wrong\n", "suite 1\n             a_test.go:1: took 3 s\n             a_test.go:2: and more\n"}, fault: "TestB failed",
		},
		{name: "the one who began it died in silence", suites: []string{passed + claimed, ""}, ends: make([]error, 2), fault: "TestB was not played"},
		{name: "nobody has played anything", suites: []string{""}, ends: make([]error, 1), fault: "none has passed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			for i, text := range test.suites {
				o := r.suite(i + 1)
				for piece := range slices.Chunk([]byte(text), 7) { // lines come in pieces
					if _, err := o.Write(piece); err != nil {
						t.Fatal(err)
					}
				}
				o.ended(test.ends[i])
			}
			err := r.finish([]string{"TestA", "TestB"})
			for _, text := range test.prints {
				if !strings.Contains(out.String(), text) {
					t.Errorf("does not print %q:\n%s", text, out.String())
				}
			}
			if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("error %v, want %q", err, test.fault)
			}
		})
	}
}
