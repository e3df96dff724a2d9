package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxQuery keeps the address short enough for servers and what is before them.
const maxQuery = 4 << 10

// PrometheusOptions say what a [Prometheus] gate asks, and which answer passes.
type PrometheusOptions struct {
	// Server is where Prometheus is, such as https://prometheus.example or
	// http://prometheus.monitoring:9090/prefix.
	Server string
	// Query gives a scalar or an instant vector. In its strings {pipeline},
	// {environment}, {version}, {commit} and {source}, the source commit, stand
	// for those of the promotion, escaped for a string. In a regular expression
	// the dots of a version match any character.
	Query string
	// Pass is a comparison with a number: one of < <= > >= == != before it, such
	// as "< 0.01". Every value has to satisfy it.
	Pass string
	// Empty is what no data mean: "pass" or "wait". Default: unknown.
	Empty string
	// TokenFile holds a bearer token; it is read for each question. Default: none.
	TokenFile string
	// Timeout is of one question. Default: DefaultTimeout; at most MaxTimeout.
	Timeout time.Duration
}

// Prometheus asks a Prometheus server, at the Subject's time.
//
// It passes when every value satisfies the comparison and waits when one does
// not. NaN and the infinities never pass; they are what a division by nothing
// gives, so it is unknown what they mean.
type Prometheus struct {
	client  *client
	address string // of the API's query
	query   string
	compare comparison
	empty   Result
}

var _ Gate = (*Prometheus)(nil)

// NewPrometheus reports every fault of the options at once.
func NewPrometheus(o PrometheusOptions) (*Prometheus, error) {
	p := &Prometheus{query: o.Query}
	var faults []error
	fault := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	var err error
	p.client, err = newClient(o.Timeout, o.TokenFile)
	fault(err)
	server, err := parseServer("server", o.Server)
	fault(err)
	if err == nil {
		if strings.Contains(o.Server, "?") {
			fault(errors.New("server has a query (?); the gate adds its own"))
		}
		p.address = strings.TrimRight(server.String(), "/") + "/api/v1/query"
	}
	fault(checkQuery(o.Query))
	p.compare, err = parseComparison(o.Pass)
	fault(err)
	switch o.Empty {
	case "":
		p.empty = Unknown
	case "pass":
		p.empty = Pass
	case "wait":
		p.empty = Wait
	default:
		fault(fmt.Errorf("empty is %q, must be pass or wait", o.Empty))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("prometheus: %w", err)
	}
	return p, nil
}

// checkQuery wants variables inside strings: nowhere else can a value be escaped.
func checkQuery(query string) error {
	switch {
	case strings.TrimSpace(query) == "":
		return errors.New("query is empty")
	case len(query) > maxQuery:
		return fmt.Errorf("query is longer than %d bytes", maxQuery)
	}
	var quote byte // of the string that is open, 0 outside of strings
	for i := 0; i < len(query); i++ {
		c := query[i]
		switch {
		case quote == 0 && c == '#':
			end := strings.IndexByte(query[i:], '\n')
			if end < 0 {
				return nil
			}
			i += end
		case quote == 0 && (c == '"' || c == '\'' || c == '`'):
			quote = c
		case quote == 0 && c == '{' && leadingVariable(query[i:]) != "":
			return fmt.Errorf("query: %s stands outside of a string; put it in quotes", leadingVariable(query[i:]))
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0 && quote != '`' && c == '\\':
			i++
		}
	}
	if quote != 0 {
		return fmt.Errorf("query: a string that begins with %c does not end", quote)
	}
	return nil
}

// escapePromQL makes a value the content of a string, whatever its quotes are:
// only the escape by number is allowed between all of them that know escapes, and
// none of the quotes is left to end the string.
func escapePromQL(value string) string {
	var b strings.Builder
	for _, r := range value {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r < ' ' || r == 0x7f || r == '"' || r == '\'' || r == '`':
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// comparison is what a value has to satisfy.
type comparison struct {
	operator string
	bound    float64
	text     string
}

var comparisonPattern = regexp.MustCompile(`^\s*(<=|<|>=|>|==|!=)\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*$`)

func parseComparison(text string) (comparison, error) {
	if m := comparisonPattern.FindStringSubmatch(text); m != nil {
		if bound, err := strconv.ParseFloat(m[2], 64); err == nil {
			return comparison{operator: m[1], bound: bound, text: m[1] + " " + m[2]}, nil
		}
	}
	return comparison{}, fmt.Errorf("pass %q is not a comparison with a number such as \"< 0.01\"", text)
}

// satisfied expects a finite value.
func (c comparison) satisfied(value float64) bool {
	switch c.operator {
	case "<":
		return value < c.bound
	case "<=":
		return value <= c.bound
	case ">":
		return value > c.bound
	case ">=":
		return value >= c.bound
	case "==":
		return value == c.bound
	case "!=":
		return value != c.bound
	}
	return false
}

// Judge asks Prometheus.
func (p *Prometheus) Judge(ctx context.Context, s Subject) Verdict {
	if fault := timeFault(s.Now); fault != "" {
		return unknown("%s", fault)
	}
	query, err := expand(p.query, s, escapePromQL)
	if err != nil {
		return unknown("%s", err)
	}
	parameters := url.Values{"query": {query}, "time": {s.Now.UTC().Format(time.RFC3339Nano)}}
	a, err := p.client.ask(ctx, http.MethodGet, p.address+"?"+parameters.Encode(), nil)
	if err != nil {
		return unknown("%s", err)
	}
	return settle(ctx, p.weigh(a))
}

// weigh says what an answer means.
func (p *Prometheus) weigh(a *answer) Verdict {
	samples, err := decodeSamples(a.body)
	var refused *queryError
	switch {
	case errors.As(err, &refused):
		return unknown("%s: %s", a.host, a.repeat(refused.Error()))
	case a.status != http.StatusOK:
		return unknown("%s", a)
	case err != nil:
		return unknown("%s: %s", a.host, a.repeat(err.Error()))
	case len(samples) == 0:
		return Verdict{Result: p.empty, Detail: "no data; expected " + p.compare.text}
	}
	var failed, strange []sample
	for _, s := range samples {
		switch {
		case math.IsNaN(s.value) || math.IsInf(s.value, 0):
			strange = append(strange, s)
		case !p.compare.satisfied(s.value):
			failed = append(failed, s)
		}
	}
	switch {
	case len(failed) > 0:
		return waitUntil(time.Time{}, "expected %s%s; found %s", p.compare.text, outOf(len(failed), len(samples)), a.repeat(failed[0].String()))
	case len(strange) > 0:
		return unknown("expected %s%s; found %s", p.compare.text, outOf(len(strange), len(samples)), a.repeat(strange[0].String()))
	case len(samples) > 1:
		return passUntil(time.Time{}, "all of %d values are %s", len(samples), p.compare.text)
	}
	return passUntil(time.Time{}, "%s is %s", samples[0].number(), p.compare.text)
}

func outOf(some, all int) string {
	if all == 1 {
		return ""
	}
	return fmt.Sprintf(", not satisfied by %d of %d values", some, all)
}

// queryError is what Prometheus says is wrong.
type queryError struct{ kind, message string }

func (e *queryError) Error() string {
	return strings.TrimSuffix(strings.TrimPrefix(e.kind+": "+e.message, ": "), ": ")
}

// sample is one value of the result.
type sample struct {
	// labels are nil for a scalar.
	labels map[string]string
	value  float64
}

func (s sample) number() string { return strconv.FormatFloat(s.value, 'g', -1, 64) }

func (s sample) String() string {
	if len(s.labels) == 0 {
		return s.number()
	}
	parts := make([]string, 0, len(s.labels))
	for _, name := range slices.Sorted(maps.Keys(s.labels)) {
		parts = append(parts, name+"="+strconv.Quote(s.labels[name]))
	}
	return s.number() + " for {" + strings.Join(parts, ", ") + "}"
}

// decodeSamples reads the answer of the API. An answer that says status error is
// a *queryError. Warnings, and fields that later versions may have, are no
// matter.
func decodeSamples(body []byte) ([]sample, error) {
	var a struct {
		Status    string `json:"status"`
		ErrorType string `json:"errorType"`
		Error     string `json:"error"`
		Data      struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&a); err != nil {
		return nil, fmt.Errorf("not an answer of Prometheus: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not an answer of Prometheus: something follows the document")
	}
	switch {
	case a.Status == "error":
		return nil, &queryError{a.ErrorType, a.Error}
	case a.Status != "success":
		return nil, fmt.Errorf("not an answer of Prometheus: status %q", a.Status)
	}
	switch a.Data.ResultType {
	case "scalar":
		value, err := decodeValue(a.Data.Result)
		if err != nil {
			return nil, err
		}
		return []sample{{value: value}}, nil
	case "vector":
		return decodeVector(a.Data.Result)
	}
	return nil, fmt.Errorf("the result is a %q; the query has to give a scalar or an instant vector", a.Data.ResultType)
}

func decodeVector(text json.RawMessage) ([]sample, error) {
	var series []struct {
		Metric    map[string]string `json:"metric"`
		Value     json.RawMessage   `json:"value"`
		Histogram json.RawMessage   `json:"histogram"`
	}
	// null would be a list without elements.
	if !bytes.HasPrefix(text, []byte("[")) {
		return nil, errors.New("the result is no list of values")
	}
	if err := json.Unmarshal(text, &series); err != nil {
		return nil, fmt.Errorf("the result is no list of values: %w", err)
	}
	samples := make([]sample, 0, len(series))
	for _, s := range series {
		if s.Histogram != nil {
			return nil, errors.New("the result has histograms; the query has to give numbers")
		}
		value, err := decodeValue(s.Value)
		if err != nil {
			return nil, err
		}
		samples = append(samples, sample{labels: s.Metric, value: value})
	}
	return samples, nil
}

// decodeValue reads a pair of a time and a number in quotes.
func decodeValue(text json.RawMessage) (float64, error) {
	var pair []json.RawMessage
	if err := json.Unmarshal(text, &pair); err != nil || len(pair) != 2 {
		return 0, errors.New("a value is no pair of time and number")
	}
	var number string
	if err := json.Unmarshal(pair[1], &number); err != nil || !bytes.HasPrefix(pair[1], []byte(`"`)) {
		return 0, errors.New("a value is no number in quotes")
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("a value is %q, no number", number)
	}
	return value, nil
}
