package changes

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// maxListed bounds the files that are listed for an environment.
const maxListed = 50

// shownDigest is how many characters of a digest tell images apart.
const shownDigest = len("sha256:") + 12

// Markdown writes the notes as a page. The same notes give the same bytes. All
// that comes from commits, labels, files and people is escaped (see [Escape]).
func (n Notes) Markdown(w io.Writer) error {
	p := &page{bufio.NewWriter(w)}
	n.head(p)
	if !n.Same() {
		n.images(p)
		n.services(p)
		n.hotfixes(p)
		n.configuration(p)
	}
	n.deployments(p)
	return p.Flush()
}

// page is Markdown being written; the first error of the writer ends up in
// Flush.
type page struct{ *bufio.Writer }

func (p *page) print(format string, args ...any) { _, _ = fmt.Fprintf(p, format, args...) }

// number is a version without the pipeline.
func number(version string) string {
	return version[strings.LastIndexByte(version, '/')+1:]
}

func (n Notes) head(p *page) {
	p.print("# %s %s\n\n", Escape(n.Pipeline), number(n.To.Version))
	source := fmt.Sprintf("commit %s of %s, %s", code(n.To.SourceCommit.Short()), code(n.To.Branch), day(n.To.Date))
	switch {
	case n.From == nil:
		p.print("The first release: %s.\n", source)
	case n.Same():
		p.print("Nothing changed: both sides are %s (%s).\n", number(n.To.Version), source)
	case n.Backwards:
		p.print("Back from %s (%s) to an older state: %s. What came with %s goes away.\n",
			number(n.From.Version), day(n.From.Date), source, number(n.From.Version))
	default:
		p.print("Changes since %s (%s): %s.\n", number(n.From.Version), day(n.From.Date), source)
	}
}

func (n Notes) images(p *page) {
	p.print("\n## Services\n\n")
	if len(n.Images) == 0 {
		p.print("No image changed.\n")
		return
	}
	p.print("| Service | From | To | Code |\n|---|---|---|---|\n")
	rows := map[string]int{}
	for _, image := range n.Images {
		rows[image.Name]++
	}
	for _, image := range n.Images {
		name := Escape(cmp.Or(n.names[image.Name], image.Name))
		if rows[image.Name] > 1 {
			name += " (" + Escape(strings.Join(image.UsedBy, ", ")) + ")"
		}
		p.print("| %s | %s | %s | %s |\n", name, cell(image.From, "new"), cell(image.To, "removed"), image.code())
	}
}

// cell is an image in a table.
func cell(b *Build, none string) string {
	if b == nil {
		return none
	}
	digest := code(b.Digest[:min(len(b.Digest), shownDigest)])
	if b.Tag == "" {
		return digest
	}
	return code(b.Tag) + " " + digest
}

// code is where an image's code changed.
func (i Image) code() string {
	var revisions []string
	for _, b := range []*Build{i.From, i.To} {
		if b != nil && b.Revision != "" {
			revisions = append(revisions, b.Revision)
		}
	}
	switch {
	case len(revisions) == 0:
		return ""
	case len(revisions) == 2 && revisions[0] == revisions[1]:
		return "same code, " + code(short(revisions[0]))
	}
	for at, r := range revisions {
		revisions[at] = short(r)
	}
	text := code(strings.Join(revisions, ".."))
	if i.CompareURL != "" {
		return "[" + text + "](" + i.CompareURL + ")"
	}
	return text
}

// short shortens a commit id and leaves other revisions as they are.
func short(revision string) string {
	if gitrepo.Hash(revision).Valid() {
		return gitrepo.Hash(revision).Short()
	}
	return bounded(revision)
}

func (n Notes) services(p *page) {
	if len(n.Services) == 0 {
		return
	}
	p.print("\n## Code\n")
	for _, s := range n.Services {
		names := make([]string, len(s.Images))
		for i, name := range s.Images {
			names[i] = Escape(name)
		}
		p.print("\n### %s\n\n", strings.Join(names, ", "))
		where := code(s.Repository)
		if s.From != "" && s.To != "" && s.From != s.To {
			where += " " + code(short(s.From)+".."+short(s.To))
		}
		p.print("%s\n\n", where)
		switch {
		case s.Problem != "":
			p.print("The commits could not be read: %s\n", Escape(s.Problem))
		case s.From == s.To:
			p.print("The same code, built again.\n")
		default:
			p.log(s.Log)
		}
	}
}

func (n Notes) configuration(p *page) {
	if n.From == nil {
		return
	}
	p.print("\n## Configuration\n\n")
	p.log(n.Configuration)
	if len(n.Files) == 0 {
		p.print("\nNo file of the GitOps repository changed.\n")
		return
	}
	// What is in environments' folders first, then what is in nobody's.
	var groups []string
	byGroup := map[string][]File{}
	for _, f := range n.Files {
		group := strings.Join(f.Environments, ", ")
		if byGroup[group] == nil && group != "" {
			groups = append(groups, group)
		}
		byGroup[group] = append(byGroup[group], f)
	}
	place := func(group string) int {
		first, _, _ := strings.Cut(group, ", ")
		return slices.Index(n.order, first)
	}
	slices.SortFunc(groups, func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
	for _, group := range append(groups, "") {
		files := byGroup[group]
		if len(files) == 0 {
			continue
		}
		p.print("\n%s, %s:\n\n", cmp.Or(Escape(group), "shared"), count(len(files), "file"))
		for _, f := range files[:min(len(files), maxListed)] {
			from := ""
			if f.From != "" {
				from = " (was " + code(f.From) + ")"
			}
			p.print("- %s %s%s\n", f.Change, code(f.Path), from)
		}
		if more := len(files) - maxListed; more > 0 {
			p.print("- and %d more\n", more)
		}
	}
}

func (p *page) log(l Log) {
	if len(l.Commits) == 0 && len(l.Gone) == 0 {
		p.print("No commits.\n")
	}
	p.commits(l.Commits, l.More)
	if len(l.Gone) > 0 {
		if len(l.Commits) > 0 {
			p.print("\n")
		}
		p.print("No longer contained:\n\n")
		p.commits(l.Gone, l.MoreGone)
	}
	if l.Incomplete {
		p.print("\nThe list may not be complete: the history between the two is longer than what was read.\n")
	}
}

func (p *page) commits(commits []Commit, more int) {
	for _, c := range commits {
		p.print("- %s (%s, %s, %s)\n", cmp.Or(Escape(c.Subject), "(no subject)"), cmp.Or(Escape(c.Author), "unknown"), day(c.Date), code(c.ID.Short()))
	}
	if more > 0 {
		p.print("- and %d more\n", more)
	}
}

func (n Notes) deployments(p *page) {
	if len(n.Deployments) == 0 {
		return
	}
	p.print("\n## Deployments\n\n")
	for _, d := range n.Deployments {
		p.print("- %s", Escape(d.Environment))
		switch {
		case len(d.Promotions) == 0:
			p.print(": not promoted")
		case d.HealthyAt.IsZero() && d.Current:
			p.print(": not seen healthy yet")
		case d.HealthyAt.IsZero():
			p.print(": never seen healthy; something else is there by now")
		case d.Current:
			p.print(": healthy since %s", minute(d.HealthyAt))
		default:
			p.print(": was healthy from %s; something else is there by now", minute(d.HealthyAt))
		}
		p.print("\n")
		for _, promotion := range d.Promotions {
			promotion.write(p)
		}
		for _, f := range d.Findings {
			what := map[string]string{Passed: "tests passed", Failed: "tests failed", Rejected: "rejected"}[f.Result]
			p.print("  - %s %s%s%s\n", what, minute(f.When), by(f.By), detail(f.Detail))
		}
	}
}

// write writes a promotion as an item of a list, with what was asked and decided
// at the time below it.
func (r Promotion) write(p *page) {
	what := "promoted"
	if r.Rollback {
		what = "rolled back to it"
	}
	p.print("  - %s %s%s", what, minute(r.When), by(r.By))
	if r.From != "" {
		p.print(", in place of %s", number(r.From))
	}
	var names []string
	for _, name := range r.ApprovedBy {
		names = append(names, Escape(name))
	}
	if len(names) > 0 {
		p.print(", approved by %s", strings.Join(names, ", "))
	}
	p.print("\n")
	switch {
	case r.Reason != "" && r.Rollback:
		p.print("    - reason: %s\n", Escape(r.Reason))
	case r.Reason != "":
		p.print("    - **rules were overridden**: %s\n", Escape(r.Reason))
	}
	for _, gate := range r.Gates {
		if gate.Gate == "approval" && gate.Result == "pass" && len(names) > 0 {
			continue // who approved says more
		}
		p.print("    - %s: %s%s\n", Escape(gate.Gate), Escape(gate.Result), detail(gate.Detail))
	}
}

func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + Escape(name)
}

func detail(text string) string {
	if text == "" {
		return ""
	}
	return ", " + Escape(text)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
