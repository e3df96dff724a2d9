package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HTTPOptions say what an [HTTP] gate asks, and which answer passes.
type HTTPOptions struct {
	// URL begins with http:// or https://. In its path and its query {pipeline},
	// {environment}, {version}, {commit} and {source}, the source commit, stand
	// for those of the promotion, escaped.
	URL string
	// Method is GET or POST, which sends the promotion as JSON. Default: GET.
	Method string
	// TokenFile holds a bearer token; it is read for each question. Default: none.
	TokenFile string
	// Status are the codes that pass, 2xx or 4xx. Default: 200.
	Status []int
	// Field of the JSON answer, dotted for a field of a field, has to have Value:
	// a text, a number as it is written, true or false. Default: the answer's body
	// does not matter.
	Field string
	Value string
	// Timeout is of one question. Default: DefaultTimeout; at most MaxTimeout.
	Timeout time.Duration
}

// HTTP asks a web service.
//
// An answer as expected passes, another one waits. It is unknown what a service
// means that does not answer in time, answers with a code 5xx, more than 1 MiB,
// or JSON that is none. A service that is asked by POST may say what it means, at
// any code below 500:
//
//	{"verdict": "refuse", "detail": "the change was not filed"}
//
// The verdict is that of a [Result]; pass means that the other expectations
// decide.
type HTTP struct {
	client *client
	// path and query are the URL's parts before and after the first "?"; variables
	// are escaped differently in them.
	path, query string
	host        string
	method      string
	status      []int
	// field is nil when the body does not matter.
	field []string
	value string
}

var _ Gate = (*HTTP)(nil)

// bracedWord is what looks like a variable.
var bracedWord = regexp.MustCompile(`\{[A-Za-z_.-]+\}`)

// NewHTTP reports every fault of the options at once.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	h := &HTTP{method: o.Method, status: slices.Clone(o.Status), value: o.Value}
	var faults []error
	var err error
	if h.client, err = newClient(o.Timeout, o.TokenFile); err != nil {
		faults = append(faults, err)
	}
	if err := h.template(o.URL); err != nil {
		faults = append(faults, err)
	}
	if h.method == "" {
		h.method = http.MethodGet
	}
	if h.method != http.MethodGet && h.method != http.MethodPost {
		faults = append(faults, fmt.Errorf("method %q is neither GET nor POST", o.Method))
	}
	if len(h.status) == 0 {
		h.status = []int{http.StatusOK}
	}
	for _, code := range h.status {
		if code/100 != 2 && code/100 != 4 {
			faults = append(faults, fmt.Errorf("status %d cannot pass; give codes 2xx or 4xx", code))
		}
	}
	switch {
	case o.Field != "":
		h.field = strings.Split(o.Field, ".")
		if slices.Contains(h.field, "") {
			faults = append(faults, fmt.Errorf("field %q has a part without a name", o.Field))
		}
	case o.Value != "":
		faults = append(faults, errors.New("value without field; say which field has to have it"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	return h, nil
}

// template takes the URL apart. Where to ask is fixed: no variable stands there.
func (h *HTTP) template(text string) error {
	for _, word := range bracedWord.FindAllString(text, -1) {
		if leadingVariable(word) == "" {
			return fmt.Errorf("url: there is no variable %s, only %s", word, variableNames())
		}
	}
	_, rest, _ := strings.Cut(text, "://")
	if at := strings.IndexAny(rest, "/?#"); strings.ContainsAny(rest[:max(at, 0)], "{}") || at < 0 && strings.ContainsAny(rest, "{}") {
		return errors.New("url: variables can stand in the path and the query only")
	}
	u, err := parseServer("url", text)
	if err != nil {
		return err
	}
	h.host = u.Host
	path, query, asks := strings.Cut(text, "?")
	if hasDots(path) {
		return errors.New("url: has . or .. for a folder; write where it leads")
	}
	h.path = path
	if asks {
		h.query = "?" + query
	}
	return nil
}

func hasDots(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return part == "." || part == ".." })
}

// target is the URL for one promotion.
func (h *HTTP) target(s Subject) (string, error) {
	path, err := expand(h.path, s, url.PathEscape)
	if err != nil {
		return "", err
	}
	query, err := expand(h.query, s, url.QueryEscape)
	if err != nil {
		return "", err
	}
	// A server would go up a folder, to where nobody meant to ask.
	if hasDots(path) {
		return "", errors.New("the url would have . or .. for a folder")
	}
	if u, err := url.Parse(path + query); err != nil || u.Host != h.host {
		return "", errors.New("the url is malformed")
	}
	return path + query, nil
}

// question is the body of a POST. Services may depend on it.
type question struct {
	Pipeline    string          `json:"pipeline"`
	Environment string          `json:"environment"`
	Version     string          `json:"version"`
	Commit      string          `json:"commit"`
	Source      string          `json:"source"`
	Images      []questionImage `json:"images"`
	Now         time.Time       `json:"now"`
}

type questionImage struct {
	Requested string `json:"requested"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
}

func (h *HTTP) body(s Subject) ([]byte, error) {
	if h.method != http.MethodPost {
		return nil, nil
	}
	q := question{
		Pipeline: s.Pipeline, Environment: s.Environment, Version: s.Version.String(),
		Commit: s.Commit, Source: s.SourceCommit, Images: []questionImage{}, Now: s.Now.UTC(),
	}
	for _, image := range s.Images {
		q.Images = append(q.Images, questionImage{image.Requested, image.Reference, image.Digest})
	}
	return json.Marshal(q)
}

// Judge asks the service.
func (h *HTTP) Judge(ctx context.Context, s Subject) Verdict {
	target, err := h.target(s)
	if err != nil {
		return unknown("%s", err)
	}
	body, err := h.body(s)
	if err != nil {
		return unknown("%s", err)
	}
	a, err := h.client.ask(ctx, h.method, target, body)
	if err != nil {
		return unknown("%s", err)
	}
	return settle(ctx, h.weigh(a))
}

// weigh says what an answer means.
func (h *HTTP) weigh(a *answer) Verdict {
	if a.status >= http.StatusInternalServerError {
		return unknown("%s", a)
	}
	if h.method == http.MethodPost {
		if v, stated := statedVerdict(a); stated {
			return v
		}
	}
	if !slices.Contains(h.status, a.status) {
		codes := make([]string, 0, len(h.status))
		for _, code := range h.status {
			codes = append(codes, strconv.Itoa(code))
		}
		return waitUntil(time.Time{}, "expected %s; %s", strings.Join(codes, " or "), a)
	}
	if h.field == nil {
		return passUntil(time.Time{}, "%s answered %d", a.host, a.status)
	}
	document, err := decodeJSON(a.body)
	if err != nil {
		return unknown("%s: %s", a.host, a.repeat(err.Error()))
	}
	name := oneLine(strings.Join(h.field, "."))
	found, ok := lookUp(document, h.field)
	switch {
	case !ok:
		return waitUntil(time.Time{}, "%s: %s is missing, expected %q", a.host, name, h.value)
	case !sameValue(found, h.value):
		return waitUntil(time.Time{}, "%s: %s is %s, expected %q", a.host, name, a.repeat(show(found)), h.value)
	}
	return passUntil(time.Time{}, "%s: %s is %q", a.host, name, h.value)
}

// statedVerdict reads what a service says in so many words. An answer that begins
// like JSON, or is said to be some, and is none could be the beginning of a
// refusal.
func statedVerdict(a *answer) (Verdict, bool) {
	if !a.isJSON && !bytes.HasPrefix(bytes.TrimLeft(a.body, " \t\r\n\ufeff"), []byte("{")) {
		return Verdict{}, false
	}
	document, err := decodeJSON(a.body)
	if err != nil {
		return unknown("%s: %s", a.host, a.repeat(err.Error())), true
	}
	object, ok := document.(map[string]any)
	if !ok {
		return Verdict{}, false
	}
	stated, ok := object["verdict"]
	if !ok {
		return Verdict{}, false
	}
	word, ok := stated.(string)
	if !ok {
		return unknown("%s: the verdict is no text", a.host), true
	}
	detail := a.host + " gives no reason"
	if text, ok := object["detail"].(string); ok && a.repeat(text) != "" {
		detail = a.repeat(text)
	}
	switch result := Result(word); result {
	case Pass:
		return Verdict{}, false
	case Wait, Refuse, Unknown:
		return Verdict{Result: result, Detail: detail}, true
	}
	return unknown("%s: %s is no verdict", a.host, a.repeat(strconv.Quote(word))), true
}

// lookUp follows a path of names through objects.
func lookUp(document any, path []string) (any, bool) {
	for _, name := range path {
		object, ok := document.(map[string]any)
		if !ok {
			return nil, false
		}
		if document, ok = object[name]; !ok {
			return nil, false
		}
	}
	return document, true
}

// sameValue compares what has one value; null, lists and objects have none.
func sameValue(found any, want string) bool {
	switch found := found.(type) {
	case string:
		return found == want
	case json.Number:
		return found.String() == want
	case bool:
		return strconv.FormatBool(found) == want
	}
	return false
}

// show writes a value as a person knows it.
func show(found any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(found); err != nil {
		return "something else"
	}
	return b.String()
}
