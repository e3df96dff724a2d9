package render

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"sort"
	"strings"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
)

const (
	// maxLoop bounds the elements that until, untilStep and seq hand out to
	// one render, and thereby what nested loops can cost.
	maxLoop = 10 << 20
	// maxRepeat bounds the text of one repeat.
	maxRepeat = 16 << 20
)

// probe stands in for everything that differs between two renders of the same
// chart: clock and chance. Each call of such a function gets the next number
// and one of two results, A or B, which differ wherever real results would.
// Output that is the same with A and with B does not depend on the call.
type probe struct {
	stopped func() error

	// calls counts the calls so far; those below vary get result B.
	calls, vary int
	// fail is the number of the call that ends the render, from 1.
	fail int
	// culprit is the name of the function whose call failed so.
	culprit string
	looped  int
}

var errCulprit = errors.New("changes with every render")

// b says whether a call gets result B.
func (p *probe) b(name string) (bool, error) {
	if err := p.alive(); err != nil {
		return false, err
	}
	p.calls++
	if p.calls == p.fail {
		p.culprit = name
		return false, errCulprit
	}
	return p.calls <= p.vary, nil
}

func (p *probe) alive() error {
	if p.stopped == nil {
		return nil
	}
	return p.stopped()
}

// pick is a function of any arguments that gives one of two results.
func pick[T any](p *probe, name string, a, b T) func(...any) (T, error) {
	return func(...any) (T, error) {
		if useB, err := p.b(name); err != nil || !useB {
			return a, err
		}
		return b, nil
	}
}

// certificate has the fields that templates read of sprig's type.
type certificate struct{ Cert, Key string }

func pem(kind, body string) string {
	return "-----BEGIN " + kind + "-----\n" + strings.Repeat(body, 16) + "\n-----END " + kind + "-----\n"
}

// functions replace those of sprig that read the clock, draw random numbers,
// depend on the machine or on the order of a Go map, or have no bound.
func (p *probe) functions() template.FuncMap {
	m := template.FuncMap{}
	p.random(m)
	p.dates(m)
	p.loops(m)
	m["keys"] = func(dicts ...map[string]any) []string {
		keys := []string{}
		for _, d := range dicts {
			keys = append(keys, sortedKeys(d)...)
		}
		return keys
	}
	m["values"] = func(dict map[string]any) []any {
		values := []any{}
		for _, key := range sortedKeys(dict) {
			values = append(values, dict[key])
		}
		return values
	}
	return m
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func (p *probe) random(m template.FuncMap) {
	text := func(name string, a, b string) {
		m[name] = func(count int) (string, error) {
			useB, err := p.b(name)
			if err != nil || count <= 0 {
				return "", err
			}
			if useB {
				return repeat(count, b)
			}
			return repeat(count, a)
		}
	}
	text("randAlphaNum", "a", "7")
	text("randAlpha", "a", "Z")
	text("randAscii", "a", "~")
	text("randNumeric", "1", "7")
	m["randBytes"] = func(count int) (string, error) {
		useB, err := p.b("randBytes")
		if err != nil {
			return "", err
		}
		one := "a"
		if useB {
			one = "\xf7"
		}
		bytes, err := repeat(max(count, 0), one)
		return base64.StdEncoding.EncodeToString([]byte(bytes)), err
	}
	m["randInt"] = func(min, max int) (int, error) {
		useB, err := p.b("randInt")
		if err != nil {
			return 0, err
		}
		if max <= min {
			return 0, fmt.Errorf("randInt %d %d: the second must be larger", min, max)
		}
		if useB {
			return max - 1, nil
		}
		return min, nil
	}
	m["shuffle"] = func(s string) (string, error) {
		useB, err := p.b("shuffle")
		if runes := []rune(s); useB && len(runes) > 1 {
			return string(append(runes[1:], runes[0])), err
		}
		return s, err
	}
	m["uuidv4"] = pick(p, "uuidv4", "aaaaaaaa-aaaa-4aaa-aaaa-aaaaaaaaaaaa", "77777777-7777-4777-b777-777777777777")
	m["genPrivateKey"] = pick(p, "genPrivateKey", pem("PRIVATE KEY", "AAAA"), pem("PRIVATE KEY", "7777"))
	for _, name := range []string{"genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey"} {
		m[name] = pick(p, name,
			certificate{pem("CERTIFICATE", "AAAA"), pem("RSA PRIVATE KEY", "AAAA")},
			certificate{pem("CERTIFICATE", "7777"), pem("RSA PRIVATE KEY", "7777")})
	}
	bcrypt := pick(p, "bcrypt", "$2a$10$"+strings.Repeat("a", 53), "$2a$10$"+strings.Repeat("7", 53))
	m["bcrypt"] = bcrypt
	m["htpasswd"] = func(user, _ string) (string, error) {
		hash, err := bcrypt()
		return user + ":" + hash, err
	}
	m["encryptAES"] = func(_, plain string) (string, error) {
		if plain == "" {
			return "", nil
		}
		return pick(p, "encryptAES", strings.Repeat("aaaa", 11), strings.Repeat("7777", 11))()
	}
}

func repeat(count int, s string) (string, error) {
	if count < 0 || len(s) > 0 && count > maxRepeat/len(s) {
		return "", fmt.Errorf("%d times %d bytes; the limit is %d", count, len(s), maxRepeat)
	}
	return strings.Repeat(s, count), nil
}

// loops bounds the functions that make lists and text out of a number.
func (p *probe) loops(m template.FuncMap) {
	original := sprig.TxtFuncMap()
	m["repeat"] = func(count int, s string) (string, error) { return repeat(count, s) }
	if f, ok := original["until"].(func(int) []int); ok {
		m["until"] = func(count int) ([]int, error) {
			if err := p.loop(0, count, 1); err != nil {
				return nil, err
			}
			return f(count), nil
		}
	}
	if f, ok := original["untilStep"].(func(int, int, int) []int); ok {
		m["untilStep"] = func(start, stop, step int) ([]int, error) {
			if err := p.loop(start, stop, step); err != nil {
				return nil, err
			}
			return f(start, stop, step), nil
		}
	}
	if f, ok := original["seq"].(func(...int) string); ok {
		m["seq"] = func(params ...int) (string, error) {
			start, step, stop := 1, 1, 0
			switch len(params) {
			case 1:
				stop = params[0]
			case 2:
				start, stop = params[0], params[1]
			case 3:
				start, step, stop = params[0], params[1], params[2]
			}
			if err := p.loop(start, stop, step); err != nil {
				return "", err
			}
			return f(params...), nil
		}
	}
}

// loop takes the elements between two numbers from what a render may use.
func (p *probe) loop(start, stop, step int) error {
	if err := p.alive(); err != nil {
		return err
	}
	if step == 0 {
		return nil // sprig gives an empty list
	}
	elements := (float64(stop) - float64(start)) / float64(step)
	if elements < 0 {
		elements = -elements
	}
	if elements > maxLoop-float64(p.looped) {
		return fmt.Errorf("loops over more than %d numbers", maxLoop)
	}
	p.looped += int(elements) + 1
	return nil
}

// instants that differ in every part of a date.
var (
	instantA = time.Date(2001, 1, 1, 1, 1, 1, 111111111, time.UTC)
	instantB = time.Date(2042, 10, 22, 22, 42, 42, 999999999, time.UTC)
)

func (p *probe) now(name string) (time.Time, error) {
	useB, err := p.b(name)
	if useB {
		return instantB, err
	}
	return instantA, err
}

func (p *probe) dates(m template.FuncMap) {
	m["now"] = func() (time.Time, error) { return p.now("now") }
	in := func(name string) func(string, any, string) (string, error) {
		return func(layout string, date any, zone string) (string, error) {
			t, err := p.instant(name, date)
			if err != nil {
				return "", err
			}
			location, err := zoneOf(zone)
			if err != nil {
				return "", err
			}
			return t.In(location).Format(layout), nil
		}
	}
	m["date"] = func(layout string, date any) (string, error) { return in("date")(layout, date, "UTC") }
	m["htmlDate"] = func(date any) (string, error) { return in("htmlDate")(time.DateOnly, date, "UTC") }
	m["htmlDateInZone"] = func(date any, zone string) (string, error) {
		return in("htmlDateInZone")(time.DateOnly, date, zone)
	}
	m["dateInZone"], m["date_in_zone"] = in("dateInZone"), in("date_in_zone")
	m["mustToDate"] = func(layout, s string) (time.Time, error) { return time.ParseInLocation(layout, s, time.UTC) }
	m["toDate"] = func(layout, s string) time.Time {
		t, err := time.ParseInLocation(layout, s, time.UTC)
		if err != nil {
			return time.Time{} // as sprig does
		}
		return t
	}
	m["ago"] = pick(p, "ago", "1s", "4242h42m42s")
	if round, ok := sprig.TxtFuncMap()["durationRound"].(func(any) string); ok {
		m["durationRound"] = func(v any) (string, error) {
			if _, ok := v.(time.Time); ok { // the time since then
				return pick(p, "durationRound", "1s", "42y")()
			}
			return round(v), nil
		}
	}
}

// instant reads what sprig accepts as a date; anything else means now.
func (p *probe) instant(name string, date any) (time.Time, error) {
	switch d := date.(type) {
	case time.Time:
		return d, nil
	case *time.Time:
		if d != nil {
			return *d, nil
		}
	case int64:
		return time.Unix(d, 0), nil
	case int:
		return time.Unix(int64(d), 0), nil
	case int32:
		return time.Unix(int64(d), 0), nil
	}
	return p.now(name)
}

func zoneOf(name string) (*time.Location, error) {
	if name == "" || name == "UTC" || name == "Local" {
		return time.UTC, nil
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %s: %w", name, err)
	}
	return location, nil
}

// reproducible renders again with other results of the unpredictable calls and
// names the call that makes a difference: the last of the shortest run of
// calls which changes the output.
func (i inflation) reproducible(t *tree, files []*archive.BufferedFile, want []byte, calls int) error {
	same := func(vary int) bool {
		got, err := i.pass(t, files, &probe{stopped: t.stopped, vary: vary})
		return err == nil && bytes.Equal(got.text, want)
	}
	if same(calls) {
		return nil
	}
	if t.stopped != nil {
		if err := t.stopped(); err != nil {
			return err
		}
	}
	low, high := 0, calls // same(low), not same(high)
	for high-low > 1 {
		if middle := low + (high-low)/2; same(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	p := &probe{stopped: t.stopped, vary: low, fail: high}
	_, err := i.pass(t, files, p)
	advice := fmt.Errorf("not reproducible: %s %w; set the value in a values file, or keep it out of the chart (a Secret made in the cluster)", p.culprit, errCulprit)
	var where *place
	if errors.As(err, &where) {
		return &place{file: where.file, line: where.line, err: advice}
	}
	return atf(join(i.dir, "Chart.yaml"), 0, "%w", advice)
}
