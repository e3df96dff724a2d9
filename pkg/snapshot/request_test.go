package snapshot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

var requestedAt = time.Date(2026, 3, 2, 16, 0, 0, 0, time.UTC)

func requests() []Request {
	v := Version{Pipeline: "shop", Major: 1, Minor: 4}
	return []Request{
		{Verb: EventPromote, Version: v},
		{Verb: EventPromote, Version: v, Reason: "payments time out", Overrides: []string{"ENV_FROZEN", "OUTSIDE_WINDOW"}},
		{Verb: EventRollback, Version: v, Reason: "payments: time out"},
		{Verb: EventHold, Reason: "the auditors are here"},
		{Verb: EventResume, Reason: "they left"},
		{Verb: EventFreeze, Reason: "Christmas", Until: requestedAt},
		{Verb: EventReject, Version: v, Reason: "prices"},
		{Verb: EventValidate, Version: v, Passed: true},
		{Verb: EventValidate, Version: v, Passed: true, Reason: "run 812"},
		{Verb: EventValidate, Version: v, Reason: "checkout is broken"},
	}
}

// TestRequestRoundTrip: what is asked for can be read in git, and back.
func TestRequestRoundTrip(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, r := range requests() {
		r.Pipeline, r.Environment = "shop", "prod"
		message, err := r.Message()
		if err != nil {
			t.Errorf("%s: %v", r.Subject(), err)
			continue
		}
		read, err := ParseRequest(message)
		if err != nil {
			t.Errorf("%s: %v", r.Subject(), err)
		}
		if diff := cmp.Diff(r, read); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.Subject(), diff)
		}
		name := r.Name(requestedAt, "0123456789abcdef")
		back, ok := ParseRequestName(name.String())
		if !ok || back != name {
			t.Errorf("%s is read as %+v, %v", name, back, ok)
		}
		names[name.String()] = true
	}
	for _, want := range []string{"request/prod/shop/v1.4.0/promote-20260302T160000Z-0123456789abcdef", "request/prod/shop/hold-20260302T160000Z-0123456789abcdef"} {
		if !names[want] {
			t.Errorf("no %s in %v", want, names)
		}
	}
	message, _ := Request{Verb: EventRollback, Pipeline: "shop", Environment: "prod", Version: Version{Pipeline: "shop", Minor: 1}, Reason: "two\n\nlines\nPropagator-Override: X"}.Message()
	want := `rollback prod to shop/v0.1.0

Propagator-Verb: rollback
Propagator-Pipeline: shop
Propagator-Environment: prod
Propagator-Snapshot: shop/v0.1.0
Propagator-Reason: two lines Propagator-Override: X
`
	if message != want {
		t.Errorf("message:\n%s", message)
	}
}

func TestRequestsThatCannotBe(t *testing.T) {
	t.Parallel()
	v := Version{Pipeline: "shop", Major: 1, Minor: 4}
	for _, r := range []Request{
		{},
		{Verb: EventPromote},
		{Verb: EventPromote, Version: Version{Pipeline: "books", Major: 1}},
		{Verb: EventPromote, Version: v, Reason: "no rule is overridden"},
		{Verb: EventPromote, Version: v, Overrides: []string{"ENV_FROZEN"}},
		{Verb: EventPromote, Version: v, Reason: "x", Overrides: []string{"ENV_FROZEN", "ENV_FROZEN"}},
		{Verb: EventPromote, Version: v, Reason: "x", Overrides: []string{"frozen"}},
		{Verb: EventPromote, Version: v, Until: requestedAt},
		{Verb: EventRollback, Version: v},
		{Verb: EventRollback, Version: v, Reason: strings.Repeat("x", 3<<10)},
		{Verb: EventHold},
		{Verb: EventHold, Version: v, Reason: "x"},
		{Verb: EventFreeze, Reason: "x"},
		{Verb: EventReject, Version: v},
		{Verb: EventValidate, Version: v},
		{Verb: EventDeployed, Version: v},
		{Verb: EventOpen},
	} {
		r.Pipeline, r.Environment = "shop", "prod"
		if message, err := r.Message(); err == nil {
			t.Errorf("accepted:\n%s", message)
		}
	}
}

func TestParseRequestStrict(t *testing.T) {
	t.Parallel()
	good, err := Request{Verb: EventHold, Pipeline: "shop", Environment: "prod", Reason: "auditors"}.Message()
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing":         "",
		"a subject":       "hold prod\n",
		"another subject": strings.Replace(good, "hold prod", "resume prod", 1),
		"two subjects":    "hold prod\n" + good,
		"twice":           good + "Propagator-Reason: other\n",
		"unknown":         good + "Propagator-Force: yes\n",
		"other case":      strings.Replace(good, "Propagator-Reason", "propagator-reason", 1),
		"folded":          strings.Replace(good, "auditors", "auditors\n and more", 1),
		"no blank":        strings.Replace(good, "Reason: ", "Reason:", 1),
		"empty value":     strings.Replace(good, "Reason: auditors", "Reason: ", 1),
		"blanks":          strings.Replace(good, "auditors", "auditors  here", 1),
		"control":         strings.Replace(good, "auditors", "audi\x1btors", 1),
		"direction":       strings.Replace(good, "auditors", "audi\u202etors", 1),
		"carriage return": strings.ReplaceAll(good, "\n", "\r\n"),
		"no end":          strings.TrimSuffix(good, "\n"),
		"more paragraphs": good + "\nSigned-off-by: x\n",
		"too long":        good + strings.Repeat("Propagator-Override: X\n", 1000),
		"not UTF-8":       strings.Replace(good, "auditors", "audi\xfftors", 1),
		"a missing fact":  strings.Replace(good, "Propagator-Pipeline: shop\n", "", 1),
	} {
		if r, err := ParseRequest(bad); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

func TestParseRequestName(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "request/", "request/prod/shop/v1.4.0/promote", "approve/prod/shop/v1.4.0/promote-20260302T160000Z-0123456789abcdef",
		"request/prod/shop/v1.4.0/promote-20260302T160000Z-0123456789abcde", "request/prod/shop/v1.4.0/promote-20260302T160000Z-0123456789ABCDEF",
		"request/prod/shop/v01.4.0/promote-20260302T160000Z-0123456789abcdef", "request/prod/shop/v1.4/promote-20260302T160000Z-0123456789abcdef",
		"request/prod/shop/promote-20260302T160000Z-0123456789abcdef", "request/prod/shop/v1.4.0/hold-20260302T160000Z-0123456789abcdef",
		"request/prod/shop/hold-20260332T160000Z-0123456789abcdef", "request/prod/shop/hold-20260302T160000Z-0123456789abcdef/more",
		"request/prod/shop/hold-20260302T160000Z-0123456789abcdef\n",
	} {
		if name, ok := ParseRequestName(bad); ok {
			t.Errorf("%q is read as %+v", bad, name)
		}
	}
}

// TestEntryOfRequest: a ledger names what asked for an entry.
func TestEntryOfRequest(t *testing.T) {
	t.Parallel()
	ref := RequestRef{Tag: "request/prod/shop/hold-20260302T160000Z-0123456789abcdef", ID: "0123456789012345678901234567890123456789"}
	for _, entry := range []Entry{
		{Event: EventHold, Environment: "prod", Hold: "auditors", Actor: "lead@shop.example", Request: ref},
		{Event: EventRefuse, Environment: "prod", Override: "lead@shop.example asked to hold prod: too late", Actor: "propagator", Request: ref},
		{Event: EventRefuse, Environment: "prod", About: Version{Pipeline: "shop", Major: 1}, Override: "too late", Actor: "propagator", Request: ref},
	} {
		message := entry.Message()
		read, err := ParseEntry("", gitrepo.Commit{Message: message})
		if err != nil || read.Request != ref || read.Event != entry.Event || read.Override != entry.Override || read.About != entry.About {
			t.Errorf("read %+v, %v of\n%s", read, err, message)
		}
		if !strings.Contains(message, "\nPropagator-Request: "+ref.Tag+" "+string(ref.ID)+"\n") {
			t.Errorf("message:\n%s", message)
		}
	}
	message := Entry{Event: EventHold, Environment: "prod", Hold: "auditors", Request: ref}.Message()
	for _, bad := range []string{ref.Tag, ref.Tag + " 0123", "v1.4.0 " + string(ref.ID), ref.Tag + " " + string(ref.ID) + " more"} {
		if read, err := ParseEntry("", gitrepo.Commit{Message: strings.Replace(message, ref.line(), bad, 1)}); err == nil {
			t.Errorf("%s is read as %+v", bad, read.Request)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, r := range requests() {
		r.Pipeline, r.Environment = "shop", "prod"
		message, err := r.Message()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		r, err := ParseRequest(message)
		if err != nil {
			return
		}
		again, err := r.Message()
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", r, err)
		}
		read, err := ParseRequest(again)
		if diff := cmp.Diff(r, read); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		lines, rest := strings.Split(message, "\n"), strings.Split(again, "\n")
		slices.Sort(lines)
		slices.Sort(rest)
		if !slices.Equal(lines, rest) {
			t.Errorf("%q says something else than %q", message, again)
		}
	})
}

func FuzzParseRequestName(f *testing.F) {
	f.Add("request/prod/shop/v1.4.0/promote-20260302T160000Z-0123456789abcdef")
	f.Add("request/prod/shop/hold-20260302T160000Z-0123456789abcdef")
	f.Fuzz(func(t *testing.T, name string) {
		if read, ok := ParseRequestName(name); ok && read.String() != name {
			t.Errorf("%q is read as %s", name, read)
		}
	})
}
