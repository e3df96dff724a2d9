package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // no image of ours has time zones, and each program reads the configuration

	"github.com/robfig/cron/v3"
)

func (r *report) checkGates(gates []Gate, path string) {
	seen := map[string]bool{}
	for i, gate := range gates {
		at := fmt.Sprintf("%s[%d]", path, i)
		var names []string
		for _, kind := range gate.kinds() {
			if !kind.set {
				continue
			}
			names = append(names, kind.name)
			if kind.once && seen[kind.name] && !r.faulty[at+"."+kind.name] {
				r.add(at+"."+kind.name, "there is a gate %s already; keep one", kind.name)
			}
			seen[kind.name] = true
		}
		if len(names) > 1 {
			r.add(at, "has %d gates (%s); make each an element of the list", len(names), strings.Join(names, ", "))
		}
		r.checkGate(gate, at)
	}
}

// Bounds of what a gate may take.
const (
	maxHTTPTimeout = time.Minute
	// maxSigningIdentities is what package sigstore takes.
	maxSigningIdentities = 64
	maxPluginTimeout     = 5 * time.Minute
)

var (
	programPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	imagePattern   = regexp.MustCompile(`^[a-z0-9*][a-z0-9._*-]*(:[0-9]+)?(/[a-z0-9._*-]+)*$`)
	sha256Pattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (r *report) checkGate(g Gate, at string) {
	if a := g.Approval; a != nil {
		if a.Count < 1 {
			r.add(at+".approval.count", "is %d, must be at least 1", a.Count)
		}
		if r.written(at + ".approval.signers") {
			r.check(at+".approval.signers", a.Signers, pathFault)
		}
	}
	if g.Soak != nil {
		r.checkLasts(at+".soak", g.Soak.For, 0)
	}
	if w := g.Window; w != nil {
		r.check(at+".window.cron", w.Cron, cronFault)
		r.checkLasts(at+".window.duration", w.Duration, 0)
		r.checkTimezone(at+".window.timezone", w.Timezone)
	}
	if f := g.Freeze; f != nil {
		r.checkFreeze(f, at+".freeze")
	}
	if p := g.Prometheus; p != nil {
		r.check(at+".prometheus.server", p.Server, webFault)
	}
	if h := g.HTTP; h != nil {
		r.check(at+".http.url", h.URL, webFault)
		if r.written(at+".http.field") != r.written(at+".http.value") {
			r.add(at+".http", "field and value belong together; give both or none")
		}
		if r.written(at + ".http.timeout") {
			r.checkLasts(at+".http.timeout", h.Timeout, maxHTTPTimeout)
		}
	}
	if s := g.Signatures; s != nil {
		r.checkSignatures(s, at+".signatures")
	}
	if j := g.Job; j != nil {
		r.check(at+".job.namespace", j.Namespace, spaceFault)
		if (j.Name == "") == (j.Selector == "") && !r.faulty[at+".job.name"] && !r.faulty[at+".job.selector"] {
			r.add(at+".job", "needs either the name of a Job or a selector of labels")
		}
	}
	if p := g.Plugin; p != nil {
		if !programPattern.MatchString(p.Command) {
			r.add(at+".plugin.command", "%s is not a file name; write that of a program in the hook's directory of plugins", quote(p.Command))
		}
		if !sha256Pattern.MatchString(p.SHA256) {
			r.add(at+".plugin.sha256", "%s is not a checksum of 64 hexadecimal digits; see: sha256sum %s", quote(p.SHA256), clip(p.Command))
		}
		if r.written(at + ".plugin.timeout") {
			r.checkLasts(at+".plugin.timeout", p.Timeout, maxPluginTimeout)
		}
	}
}

func (r *report) checkSignatures(s *SignaturesGate, at string) {
	r.check(at+".key", s.Key, pathFault)
	r.check(at+".roots", s.Roots, pathFault)
	keyless := s.Roots != "" || len(s.Identities) > 0
	switch {
	case r.faulty[at] || r.faulty[at+".key"] || r.faulty[at+".roots"] || r.faulty[at+".identities"]:
	case s.Key == "" && !keyless:
		r.add(at, "does not say who has to sign; give key, or identities and roots")
	case s.Key != "" && keyless:
		r.add(at, "has both a key and identities; if both have to sign, make them two gates")
	case s.Key == "" && (s.Roots == "" || len(s.Identities) == 0):
		r.add(at, "identities and roots belong together; give both")
	case len(s.Identities) > maxSigningIdentities:
		r.add(at+".identities", "there are %d; at most %d are read", len(s.Identities), maxSigningIdentities)
	}
	for i, identity := range s.Identities {
		// Issuers are compared as they are; a pattern would never be one.
		if strings.Contains(identity.Issuer, "*") {
			r.add(fmt.Sprintf("%s.identities[%d].issuer", at, i), "%s has a *, which only a subject may have", quote(identity.Issuer))
		}
	}
	for i, pattern := range s.Images {
		if !imagePattern.MatchString(pattern) {
			r.add(fmt.Sprintf("%s.images[%d]", at, i), "%s is no pattern of a repository such as docker.io/library/*; write it without a tag or digest", quote(pattern))
		}
	}
}

func (r *report) checkFreeze(f *FreezeGate, at string) {
	if r.faulty[at] || r.faulty[at+".from"] || r.faulty[at+".until"] || r.faulty[at+".cron"] || r.faulty[at+".duration"] {
		return
	}
	repeated, once := f.Cron != "" || f.Duration != 0, f.From != "" || f.Until != ""
	switch {
	case repeated && once:
		r.add(at, "has both cron and from; make them two gates")
	case repeated && (f.Cron == "" || f.Duration == 0):
		r.add(at, "cron and duration belong together; give both")
	case repeated:
		r.check(at+".cron", f.Cron, cronFault)
		r.checkLasts(at+".duration", f.Duration, 0)
	case f.From == "" || f.Until == "":
		r.add(at, "says no time; give cron and duration, or from and until")
	}
	r.checkTimezone(at+".timezone", f.Timezone)
}

// checkLasts reports a time that is no length, or more than most; 0 is no bound.
func (r *report) checkLasts(at string, d, most time.Duration) {
	switch {
	case r.faulty[at]:
	case d <= 0:
		r.add(at, "is %s, must be longer than nothing", d)
	case most > 0 && d > most:
		r.add(at, "is %s, must be at most %s", d, most)
	}
}

func (r *report) checkTimezone(at, name string) {
	if _, err := time.LoadLocation(name); err != nil || name == "Local" {
		r.add(at, "%s is not a time zone such as Europe/Berlin or UTC", quote(name))
	}
}

// cronFault says what is wrong with the times of a window, freeze or schedule. A
// prefix TZ=, on which the parser can panic, is not one of five fields.
func cronFault(text string) string {
	if len(strings.Fields(text)) != 5 || strings.Contains(text, "=") {
		return fmt.Sprintf("%s is not five fields (minute, hour, day of the month, month, day of the week) such as \"0 9 * * 1-5\"; the time zone is a field of its own", quote(text))
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return fmt.Sprintf("%s does not name times as cron does, such as \"0 9 * * 1-5\": %v", quote(text), err)
	}
	// The five years that the library looks at begin with a leap year.
	if parsed.Next(time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second)).IsZero() {
		return fmt.Sprintf("%s never comes; no month that it names has such a day", quote(text))
	}
	return ""
}

// webFault says what is wrong with an address of the web.
func webFault(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%s is not an address such as https://prometheus.example", quote(text))
	case u.User != nil:
		return "has a user or password in it; put a token into the hook's directory of gate tokens"
	}
	return ""
}
