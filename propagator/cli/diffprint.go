package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/fleeting-taas/propagator/pkg/changes"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// diffPrinter finds patches and objects while it prints, so that what is large
// is shown as it comes. JSON and YAML need all of it first.
type diffPrinter struct {
	*app
	session  *session
	from, to changes.Side
	patch    bool
	// environments to render.
	environments []string
}

func (p *diffPrinter) print(ctx context.Context, d *difference) error {
	if p.output != outputTable {
		return p.whole(ctx, d)
	}
	w := bufio.NewWriter(p.stdout)
	d.head(w)
	d.imageTable(w)
	d.hotfixTable(w)
	d.fileTable(w)
	if p.patch {
		for _, f := range d.Files {
			text, omitted, err := changes.Patch(p.session.Repo, f.File)
			if err != nil {
				return err
			}
			writePatch(w, f.title(), text, omitted)
		}
	}
	for _, environment := range p.environments {
		// What is known is shown while the rest is rendered.
		if err := w.Flush(); err != nil {
			return err
		}
		manifests, err := changes.Manifests(ctx, p.session.Repo, p.from, p.to, environment)
		if err != nil {
			return err
		}
		d.Equal = d.Equal && len(manifests) == 0
		writeManifests(w, environment, manifests)
	}
	if d.Equal {
		_, _ = fmt.Fprintln(w, "no differences")
	}
	return w.Flush()
}

func (p *diffPrinter) whole(ctx context.Context, d *difference) error {
	if p.patch {
		for i := range d.Files {
			f := &d.Files[i]
			var err error
			if f.Patch, f.Omitted, err = changes.Patch(p.session.Repo, f.File); err != nil {
				return err
			}
		}
	}
	for _, environment := range p.environments {
		manifests, err := changes.Manifests(ctx, p.session.Repo, p.from, p.to, environment)
		if err != nil {
			return err
		}
		d.Manifests = append(d.Manifests, manifests...)
	}
	d.Equal = d.Equal && len(d.Manifests) == 0
	return p.app.print(d, nil)
}

func (d *difference) head(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s → %s\n", printable(d.From.String()), printable(d.To.String()))
	writeFacts(w, fact{"source", d.From.SourceCommit.Short() + " → " + d.To.SourceCommit.Short()}, fact{"limited to", d.Environment})
}

func (d *difference) hotfixTable(w io.Writer) {
	if len(d.Hotfixes) == 0 {
		return
	}
	var rows [][]string
	for _, h := range d.Hotfixes {
		change := "composed"
		if h.Gone {
			change = string(h.Answer) // in what is compared with
		}
		rows = append(rows, []string{change, printable(h.Name), h.Head.Short(), h.Since, printable(h.Author), printable(h.Subject)})
	}
	_, _ = fmt.Fprintln(w)
	writeTable(w, []string{"HOTFIX", "NAME", "HEAD", "SINCE", "AUTHOR", "SUBJECT"}, rows)
}

func (d *difference) imageTable(w io.Writer) {
	if len(d.Images) == 0 {
		return
	}
	var rows [][]string
	for _, image := range d.Images {
		rows = append(rows, []string{string(image.Change), image.Name, buildText(image.From), buildText(image.To), codeText(image), strings.Join(image.UsedBy, ",")})
	}
	_, _ = fmt.Fprintln(w)
	writeTable(w, []string{"CHANGE", "IMAGE", "FROM", "TO", "CODE", "USED BY"}, rows)
	var pages []string
	for _, image := range d.Images {
		if image.CompareURL != "" && !slices.Contains(pages, image.CompareURL) {
			pages = append(pages, image.CompareURL)
			_, _ = fmt.Fprintf(w, "  %s\n", image.CompareURL)
		}
	}
}

func buildText(b *changes.Build) string {
	if b == nil {
		return ""
	}
	return strings.TrimSpace(b.Tag + " " + shortDigest(b.Digest))
}

// codeText is the revisions of the code.
func codeText(image changes.Image) string {
	var all []string
	for _, b := range []*changes.Build{image.From, image.To} {
		if b == nil || b.Revision == "" {
			continue
		}
		revision := b.Revision
		if gitrepo.Hash(revision).Valid() {
			revision = gitrepo.Hash(revision).Short()
		}
		all = append(all, revision)
	}
	if len(all) == 2 && all[0] == all[1] {
		all = all[:1]
	}
	return strings.Join(all, "..")
}

func (d *difference) fileTable(w io.Writer) {
	if len(d.Files) == 0 {
		return
	}
	var rows [][]string
	for _, f := range d.Files {
		where := strings.Join(f.Environments, ",")
		if where == "" {
			where = "shared"
		}
		rows = append(rows, []string{string(f.Change), where, f.title()})
	}
	_, _ = fmt.Fprintln(w)
	writeTable(w, []string{"CHANGE", "ENVIRONMENT", "FILE"}, rows)
}

func (f differentFile) title() string {
	if f.From != "" {
		return f.Path + " (was " + f.From + ")"
	}
	return f.Path
}

// writePatch shows foreign text: nothing in it may steer a terminal.
func writePatch(w io.Writer, title, text, omitted string) {
	if omitted != "" {
		_, _ = fmt.Fprintf(w, "\n%s is not shown: %s\n", printable(title), omitted)
		return
	}
	if text != "" {
		_, _ = fmt.Fprintln(w)
	}
	for line := range strings.Lines(text) {
		_, _ = fmt.Fprintln(w, strings.Map(func(c rune) rune {
			if c == '\t' || unicode.IsPrint(c) {
				return c
			}
			return ' '
		}, strings.TrimSuffix(line, "\n")))
	}
}

func writeManifests(w io.Writer, environment string, manifests []changes.Manifest) {
	_, _ = fmt.Fprintln(w)
	if len(manifests) == 0 {
		_, _ = fmt.Fprintf(w, "the manifests of %s are equal\n", printable(environment))
		return
	}
	var rows [][]string
	for _, m := range manifests {
		rows = append(rows, []string{string(m.Change), m.Environment, m.Application, m.Kind, m.Namespace, m.Name})
	}
	writeTable(w, []string{"CHANGE", "ENVIRONMENT", "APPLICATION", "KIND", "NAMESPACE", "NAME"}, rows)
	for _, m := range manifests {
		writePatch(w, m.Name, m.Patch, "")
	}
}
