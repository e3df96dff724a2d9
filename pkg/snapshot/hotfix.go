package snapshot

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Hotfix is a change that people made on a branch of its own, on top of what an
// environment runs: everything from Base to Head. The two commits say all of it,
// so it stays known when the branch is gone.
type Hotfix struct {
	// Name is the branch without hotfix/.
	Name string `yaml:"name" json:"name"`
	// Base is the commit the branch was cut from, Head the last one of the branch.
	Base gitrepo.Hash `yaml:"base" json:"base"`
	Head gitrepo.Hash `yaml:"head" json:"head"`
	// Since is the first snapshot that was composed with it.
	Since Version `yaml:"since" json:"since"`
}

func (h Hotfix) String() string { return fmt.Sprintf("%s (%s)", h.Name, h.Head.Short()) }

// Base is the snapshot that a composed one was made from.
type Base struct {
	Snapshot Version `yaml:"snapshot" json:"snapshot"`
	// Commit of that snapshot.
	Commit gitrepo.Hash `yaml:"commit" json:"commit"`
	// Captured is the commit of the source branch that the line began with.
	Captured gitrepo.Hash `yaml:"captured" json:"captured"`
}

// HotfixBranches is what the names of hotfix branches begin with.
const HotfixBranches = gitrepo.Heads + "hotfix/"

// hotfixName is a name that can stand in a trailer as one word.
var hotfixName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$`)

// ValidHotfixName reports whether a hotfix can have the name: at most 100
// letters, digits, dots, dashes, underscores and slashes.
func ValidHotfixName(name string) bool { return hotfixName.MatchString(name) }

// Debt is a hotfix that an environment has had, and that everything promoted
// there from now on must contain.
type Debt struct {
	Hotfix
	// In is a commit of the source branch that is proven to contain the hotfix;
	// empty as long as none is.
	In gitrepo.Hash
}

// line is a debt as the ledger records it:
//
//	pay-timeout base=1f0c… head=3f2a… since=shop/v1.4.1 in=77ab…
func (d Debt) line() string {
	line := fmt.Sprintf("%s base=%s head=%s", d.Name, d.Base, d.Head)
	if !d.Since.IsZero() { // it may come to the source branch before it is composed
		line += " since=" + d.Since.String()
	}
	if d.In != "" {
		line += " in=" + string(d.In)
	}
	return line
}

func parseDebt(line string) (Debt, error) {
	fields := strings.Fields(line)
	if len(fields) == 0 || !ValidHotfixName(fields[0]) {
		return Debt{}, fmt.Errorf("%q names no hotfix", line)
	}
	d := Debt{Hotfix: Hotfix{Name: fields[0]}}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		var err error
		switch key {
		case "base":
			d.Base, err = parseHash(value)
		case "head":
			d.Head, err = parseHash(value)
		case "in":
			d.In, err = parseHash(value)
		case "since":
			d.Since, err = ParseVersion(value)
		}
		if err != nil {
			return Debt{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	if d.Base == "" || d.Head == "" {
		return Debt{}, fmt.Errorf("%q lacks base or head", line)
	}
	return d, nil
}

// Closure is a person's word that a hotfix is no debt any more.
type Closure struct {
	Name string
	Head gitrepo.Hash
	// Dropped: the hotfix is not wanted, and compositions leave it out. Otherwise
	// it is somewhere else, as the reason says.
	Dropped bool
	Reason  string
}

// line is a closure as the ledger records it: "pay-timeout 3f2a… dropped: it made things worse".
func (c Closure) line() string {
	how := "closed"
	if c.Dropped {
		how = "dropped"
	}
	return fmt.Sprintf("%s %s %s: %s", c.Name, c.Head, how, oneLine(c.Reason))
}

func parseClosure(line string) (Closure, error) {
	what, reason, _ := strings.Cut(line, ": ")
	what = strings.TrimSuffix(what, ":") // of a reason nothing may be left
	fields := strings.Fields(what)
	if len(fields) != 3 || !ValidHotfixName(fields[0]) || fields[2] != "closed" && fields[2] != "dropped" {
		return Closure{}, fmt.Errorf("%q closes no hotfix", line)
	}
	head, err := parseHash(fields[1])
	return Closure{Name: fields[0], Head: head, Dropped: fields[2] == "dropped", Reason: reason}, err
}

func parseHash(s string) (gitrepo.Hash, error) {
	if h := gitrepo.Hash(s); h.Valid() {
		return h, nil
	}
	return "", fmt.Errorf("%q is not a full commit id", s)
}
