package snapshot

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func TestParseTrailers(t *testing.T) {
	for _, test := range []struct {
		name, message string
		want          Trailers
	}{
		{"usual", "subject\n\nA: 1\nB-c: two words\n", Trailers{{"A", "1"}, {"B-c", "two words"}}},
		{"body between", "subject\n\nbody: no trailer\nmore\n\nA: 1\n", Trailers{{"A", "1"}}},
		{"repeated", "s\n\nA: 1\nA: 2\n", Trailers{{"A", "1"}, {"A", "2"}}},
		{"CRLF", "s\r\n\r\nA: 1\r\nB: 2\r\n", Trailers{{"A", "1"}, {"B", "2"}}},
		{"no last newline", "s\n\nA: 1", Trailers{{"A", "1"}}},
		{"blank lines behind", "s\n\nA: 1\n\n\n", Trailers{{"A", "1"}}},
		{"folded", "s\n\nA: 1\n  and more\n\tand more\nB: 2\n", Trailers{{"A", "1 and more and more"}, {"B", "2"}}},
		{"no value", "s\n\nA:\nB: 2\n", Trailers{{"A", ""}, {"B", "2"}}},
		{"value with colon", "s\n\nA: b: c\n", Trailers{{"A", "b: c"}}},
		{"last paragraph is prose", "s\n\nA: 1\n\nThis is: prose, not\na trailer\n", nil},
		{"prose below", "s\n\nA: 1\nand so on\n", nil},
		{"fold of nothing", "s\n\n  folded\nA: 1\n", nil},
		{"subject alone", "A: 1\n", nil},
		{"trailers in the subject's paragraph", "s\nA: 1\n", nil},
		{"blank key", "s\n\n: 1\n", nil},
		{"key with a blank", "s\n\nA b: 1\n", nil},
		{"empty", "", nil},
		{"newlines only", "\n\n\n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ParseTrailers(test.message)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTrailersLookup(t *testing.T) {
	trailers := Trailers{{"Key", "1"}, {"other", "x"}, {"key", "2"}}
	if got := trailers.Get("KEY"); got != "1" {
		t.Errorf("Get: %q", got)
	}
	if diff := cmp.Diff([]string{"1", "2"}, trailers.All("Key")); diff != "" {
		t.Errorf("All: %s", diff)
	}
	if trailers.Get("none") != "" || trailers.All("none") != nil {
		t.Error("found what is not there")
	}
}

// injected are texts with which somebody who may give a reason, or choose a
// name, tries to write a trailer of their own or to hide ours.
var injected = []string{
	"why\nPropagator-Event: rollback",
	"why\r\nPropagator-Snapshot: shop/v9.9.9",
	"why\rPropagator-Event: open",
	"why\n\nPropagator-Event: open\n",
	"why\u2028Propagator-Event: open",
	"why\vPropagator-Event: open",
	"why\fPropagator-Event: open",
	"why\u0085Propagator-Event: open",
	"why\x00",
	"why \x1b]0;title\x07\x1b[2J",
	"why \u202eevil",
	"why \xff\xfe",
	"---\nwhy",
	"\n# why",
}

// TestTrailersInjection: whatever people type, the entry says who did what,
// and git reads the same from it.
func TestTrailersInjection(t *testing.T) {
	for _, text := range injected {
		e := promoted()
		e.Hold, e.Override, e.Actor, e.ApprovedBy = text, text, text, []string{text, "ada"}
		e.Gates = []Verdict{{Gate: "approval", Result: "pass", Detail: text}}
		e.Environment = "stage"
		message := e.Message()
		for _, r := range message {
			if r != '\n' && (r < ' ' || r == 0x7f || r == 0x85 || r == '\u2028' || r == '\u202e') {
				t.Errorf("%q: the message has the character %U", text, r)
			}
		}
		if !strings.HasPrefix(message, "promote shop/v1.5.0 to stage\n\nPropagator-Event: promote\n") {
			t.Errorf("%q: the message begins with:\n%s", text, message)
		}
		trailers := ParseTrailers(message)
		for _, key := range []string{trailerEvent, trailerSnapshot, trailerActor, trailerHold, trailerOverride, trailerGate} {
			if got := trailers.All(key); len(got) != 1 {
				t.Errorf("%q: %s: %q", text, key, got)
			}
		}
		if trailers.Get(trailerEvent) != "promote" || trailers.Get(trailerSnapshot) != "shop/v1.5.0" || !strings.Contains(trailers.Get(trailerActor), "why") {
			t.Errorf("%q: %v", text, trailers)
		}
		agreesWithGit(t, message)
	}
}

// agreesWithGit compares with what git itself takes for trailers.
func agreesWithGit(t *testing.T, message string) {
	t.Helper()
	var ours []string
	for _, trailer := range ParseTrailers(message) {
		ours = append(ours, trailer.Key+": "+trailer.Value)
	}
	theirs := gitrepotest.Git(t, t.TempDir(), message, "interpret-trailers", "--parse")
	if diff := cmp.Diff(strings.Split(theirs, "\n"), ours); diff != "" {
		t.Errorf("git reads other trailers (-git +we):\n%s\n%s", diff, message)
	}
}

func promoted() Entry {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return Entry{
		Event: EventPromote, When: at, Environment: "stage", Snapshot: Version{"shop", 1, 5, 0}, SourceCommit: sourceCommit,
		From: Version{"shop", 1, 4, 0}, Since: at, Actor: "ada",
	}
}

func TestTrailersRoundTrip(t *testing.T) {
	var written Trailers
	for _, text := range append(injected, "plain", "with: colon", "ümlaut", "日本語", "👩‍👧 family") {
		written.add("Key", text)
	}
	message := written.message("subject\nof two lines", "")
	if diff := cmp.Diff(written, ParseTrailers(message)); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	if !strings.HasPrefix(message, "subject of two lines\n\nKey: ") {
		t.Errorf("message: %s", message)
	}
	if got := written.Get("key"); got != "why Propagator-Event: rollback" {
		t.Errorf("value: %q", got)
	}
	if family := written[len(written)-1].Value; family != "👩‍👧 family" {
		t.Errorf("letters were lost: %q", family)
	}
	var empty Trailers
	empty.add("Key", " \n\x00")
	if diff := cmp.Diff(Trailers(nil), empty, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("an empty value was written: %s", diff)
	}
}

func FuzzParseTrailers(f *testing.F) {
	for _, text := range injected {
		f.Add(text)
	}
	f.Add("s\n\nA: 1\n b\n")
	f.Add("s\r\n\r\nA: 1\r\n")
	f.Fuzz(func(t *testing.T, message string) {
		// What was read can be written, and then reads the same.
		var written Trailers
		for _, trailer := range ParseTrailers(message) {
			written.add(trailer.Key, trailer.Value)
		}
		if diff := cmp.Diff(written, ParseTrailers(written.message("subject", "")), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-written +read:\n%s", diff)
		}
		// A value that people typed stays one value.
		var one Trailers
		one.add("Key", message)
		one.add("Last", "x")
		if got := ParseTrailers(one.message(message, "")); len(got) != len(one) || got.Get("Last") != "x" {
			t.Errorf("%q became %v", message, got)
		}
	})
}
