package snapshot

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// RequestPrefix begins the names of request tags, behind refs/tags/.
const RequestPrefix = "request/"

// The trailers of a request tag's message that ledgers do not have.
const (
	trailerVerb     = "Propagator-Verb"
	trailerPipeline = "Propagator-Pipeline"
	trailerReason   = "Propagator-Reason"
	trailerResult   = "Propagator-Result"
)

// Bounds of a request.
const (
	maxRequest       = 8 << 10 // bytes of its message
	maxRequestReason = 2 << 10 // bytes
	maxOverrides     = 20
)

// Request is what a person asks the hook for, by a signed annotated tag. The tag's
// message carries it, and the tag's name says again what it is about.
type Request struct {
	// Verb is promote, rollback, hold, freeze, resume, reject or validate.
	Verb        Event
	Pipeline    string
	Environment string
	// Version is the snapshot; zero for hold, freeze and resume, which are about
	// the environment.
	Version Version
	Reason  string
	// Overrides are the reasons that a promote goes against.
	Overrides []string
	// Passed is what a validate says.
	Passed bool
	// Until is the end of a freeze.
	Until time.Time
}

// versioned reports whether a verb is about a snapshot.
func versioned(verb Event) bool {
	switch verb {
	case EventPromote, EventRollback, EventReject, EventValidate:
		return true
	}
	return false
}

// Subject says in one line what is asked for.
func (r Request) Subject() string {
	switch r.Verb {
	case EventPromote:
		return fmt.Sprintf("promote %s to %s", r.Environment, r.Version)
	case EventRollback:
		return fmt.Sprintf("rollback %s to %s", r.Environment, r.Version)
	case EventFreeze:
		return fmt.Sprintf("freeze %s until %s", r.Environment, timestamp(r.Until))
	case EventReject:
		return fmt.Sprintf("reject %s in %s", r.Version, r.Environment)
	case EventValidate:
		return fmt.Sprintf("validate %s in %s: %s", r.Version, r.Environment, r.result())
	}
	return fmt.Sprintf("%s %s", r.Verb, r.Environment)
}

func (r Request) result() string {
	if r.Passed {
		return "pass"
	}
	return "fail"
}

// Message is the tag's message, without the signature. What cannot be read back is
// an error.
func (r Request) Message() (string, error) {
	var t Trailers
	t.add(trailerVerb, string(r.Verb))
	t.add(trailerPipeline, r.Pipeline)
	t.add(trailerEnvironment, r.Environment)
	t.add(trailerSnapshot, r.Version.String())
	t.add(trailerReason, r.Reason)
	for _, name := range r.Overrides {
		t.add(trailerOverride, name)
	}
	if r.Verb == EventValidate {
		t.add(trailerResult, r.result())
	}
	t.add(trailerFrozen, timestamp(r.Until))
	message := t.message(r.Subject(), "")
	if _, err := ParseRequest(message); err != nil {
		return "", err
	}
	return message, nil
}

var overrideName = regexp.MustCompile(`^[A-Z][A-Z_]{0,63}$`)

// ParseRequest reads the message of a request tag, without the signature. It is
// strict: whatever a signer may have meant by something else is not guessed.
func ParseRequest(message string) (Request, error) {
	var r Request
	if len(message) > maxRequest {
		return r, fmt.Errorf("the message has %d bytes; at most %d are read", len(message), maxRequest)
	}
	subject, body, ok := strings.Cut(message, "\n\n")
	body, ended := strings.CutSuffix(body, "\n")
	if !ok || !ended || strings.Contains(subject, "\n") {
		return r, errors.New("the message is not one line, an empty one, and one line for each fact")
	}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(body, "\n") {
		key, value, ok := strings.Cut(line, ": ")
		switch {
		case !ok || value == "" || value != oneLine(value):
			return r, fmt.Errorf("the message has the line %q, which is not a fact such as %s: %s", clip(line), trailerVerb, EventPromote)
		case seen[key] && key != trailerOverride:
			return r, fmt.Errorf("the message says %s twice", key)
		}
		seen[key] = true
		if err := r.set(key, value); err != nil {
			return r, err
		}
	}
	if err := r.check(seen); err != nil {
		return r, err
	}
	if subject != r.Subject() {
		return r, fmt.Errorf("the first line of the message is %q, but what it asks for is to %s", clip(subject), r.Subject())
	}
	return r, nil
}

func (r *Request) set(key, value string) error {
	var err error
	switch key {
	case trailerVerb:
		r.Verb = Event(value)
	case trailerPipeline:
		r.Pipeline = value
	case trailerEnvironment:
		r.Environment = value
	case trailerSnapshot:
		err = r.Version.UnmarshalText([]byte(value))
	case trailerReason:
		r.Reason = value
		if len(value) > maxRequestReason {
			err = fmt.Errorf("it has %d bytes; at most %d are read", len(value), maxRequestReason)
		}
	case trailerOverride:
		if r.Overrides = append(r.Overrides, value); len(r.Overrides) > maxOverrides || !overrideName.MatchString(value) || slices.Contains(r.Overrides[:len(r.Overrides)-1], value) {
			err = fmt.Errorf("%q is not the name of one more rule", clip(value))
		}
	case trailerResult:
		if r.Passed = value == "pass"; !r.Passed && value != "fail" {
			err = fmt.Errorf("%q is neither pass nor fail", clip(value))
		}
	case trailerFrozen:
		if err = parseTimestamp(&r.Until, value); err == nil && timestamp(r.Until) != value {
			err = fmt.Errorf("%q is not a time in UTC and whole seconds", clip(value))
		}
	default:
		return fmt.Errorf("the message says %q, which this version does not know", clip(key))
	}
	if err != nil {
		return fmt.Errorf("the message says %s: %w", key, err)
	}
	return nil
}

// check wants exactly what belongs to the verb.
func (r Request) check(said map[string]bool) error {
	needs := map[Event][]string{
		EventPromote: {trailerSnapshot}, EventRollback: {trailerSnapshot, trailerReason},
		EventHold: {trailerReason}, EventResume: {trailerReason}, EventFreeze: {trailerReason, trailerFrozen},
		EventReject: {trailerSnapshot, trailerReason}, EventValidate: {trailerSnapshot, trailerResult},
	}
	wanted, known := needs[r.Verb]
	if !known {
		return fmt.Errorf("nobody can ask for %q", clip(string(r.Verb)))
	}
	wanted = append(wanted, trailerVerb, trailerPipeline, trailerEnvironment)
	switch {
	case len(r.Overrides) > 0 && r.Verb == EventPromote:
		wanted = append(wanted, trailerOverride, trailerReason)
	case r.Verb == EventValidate && (!r.Passed || said[trailerReason]):
		wanted = append(wanted, trailerReason)
	}
	for _, key := range wanted {
		if !said[key] {
			return fmt.Errorf("the message lacks %s, which a %s needs", key, r.Verb)
		}
	}
	for key := range said {
		if !slices.Contains(wanted, key) {
			return fmt.Errorf("the message says %s, which does not belong to such a %s", key, r.Verb)
		}
	}
	if versioned(r.Verb) && r.Version.Pipeline != r.Pipeline {
		return fmt.Errorf("%s is not a snapshot of pipeline %s", r.Version, clip(r.Pipeline))
	}
	return nil
}

// clip shortens a stranger's text for a message.
func clip(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// RequestName is what the name of a request tag says:
// request/<environment>/<version>/<verb>-<time>-<unique>, where verbs about the
// whole environment have the pipeline's name in the place of a version. The time
// is the tagger's date, so that old requests need not be fetched.
type RequestName struct {
	Environment string
	Pipeline    string
	Version     Version
	Verb        Event
	When        time.Time
	Unique      string
}

const requestStamp = "20060102T150405Z"

var requestName = regexp.MustCompile(`^request/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})(/v[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9})?/([a-z]{1,20})-([0-9]{8}T[0-9]{6}Z)-([0-9a-f]{16})$`)

// String is the name of the tag, without refs/tags/.
func (n RequestName) String() string {
	subject := n.Pipeline
	if !n.Version.IsZero() {
		subject = n.Version.String()
	}
	return fmt.Sprintf("%s%s/%s/%s-%s-%s", RequestPrefix, n.Environment, subject, n.Verb, n.When.UTC().Format(requestStamp), n.Unique)
}

// ParseRequestName reads the name of a tag, without refs/tags/; false when it is
// not that of a request.
func ParseRequestName(name string) (RequestName, bool) {
	m := requestName.FindStringSubmatch(name)
	if m == nil {
		return RequestName{}, false
	}
	when, err := time.Parse(requestStamp, m[5])
	n := RequestName{Environment: m[1], Pipeline: m[2], Verb: Event(m[4]), When: when, Unique: m[6]}
	if err != nil || versioned(n.Verb) != (m[3] != "") {
		return RequestName{}, false
	}
	if m[3] != "" {
		if n.Version, err = ParseVersion(m[2] + m[3]); err != nil {
			return RequestName{}, false
		}
	}
	return n, n.String() == name
}

// Name is the name of a tag with the request.
func (r Request) Name(when time.Time, unique string) RequestName {
	return RequestName{Environment: r.Environment, Pipeline: r.Pipeline, Version: r.Version, Verb: r.Verb, When: when.UTC(), Unique: unique}
}

// RequestRef is a request tag as a ledger names it: the tag's name, and the id of
// the tag object, which is what counts.
type RequestRef struct {
	Tag string       `json:"tag"`
	ID  gitrepo.Hash `json:"id"`
}

func (r RequestRef) line() string {
	if r.ID == "" {
		return ""
	}
	return r.Tag + " " + string(r.ID)
}

func (r *RequestRef) parse(line string) error {
	if line == "" {
		return nil
	}
	tag, id, _ := strings.Cut(line, " ")
	if _, ok := ParseRequestName(tag); !ok || !gitrepo.Hash(id).Valid() {
		return fmt.Errorf("%q is not the name of a request tag and the id of its object", clip(line))
	}
	*r = RequestRef{tag, gitrepo.Hash(id)}
	return nil
}
