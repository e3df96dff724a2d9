package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

func hotfixShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "everything about a hotfix",
		Long: `show prints a hotfix: its commits, where it is and what shows that, what it conflicts
with, file, lines and both sides, and what to type next. Where a name was used
several times, NAME@HEAD names one: the first digits of its newest commit. Where
hotfixes.backMerge is pr it asks the git host for the pull request, if there is a
token (--host-tokens, PROPAGATOR_HOST_TOKEN).`,
		Example: `  propagator hotfix show pay-timeout
  propagator hotfix show pay-timeout@3f2a91c -o yaml`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeHotfix),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(cmd, reading, "")
			if err != nil {
				return err
			}
			state, err := s.Observe(cmd.Context())
			if err != nil {
				return err
			}
			h, err := hotfixArgument(state, args[0])
			if err != nil {
				return err
			}
			details := newHotfixDetails(state, h)
			if h.Base != "" && h.Base != h.Head {
				log, err := hotfix.Log(cmd.Context(), s.Repo, h.Hotfix)
				if err != nil {
					return err
				}
				for _, c := range log {
					subject, _, _ := strings.Cut(c.Message, "\n")
					details.Commits = append(details.Commits, hotfixCommit{c.ID, subject, c.Author.Name, c.Author.When.UTC()})
				}
			}
			details.PullRequest = a.lookForPullRequest(cmd.Context(), s, state, h)
			return a.print(details, details.table)
		},
	}
}

func (h hotfixDetails) table(w io.Writer) {
	_, _ = fmt.Fprintln(w, printable(hotfixPrefix+h.Name+": "+h.stateText()))
	branch := "gone"
	if h.Open {
		branch = "there"
	}
	age := h.age()
	if age != "" {
		age = "made " + moment(h.CommittedAt) + ", " + age + " ago, by " + h.Author
	}
	writeFacts(w,
		fact{"head", strings.TrimSpace(h.Head.Short() + " " + h.Subject)},
		fact{"base", strings.TrimSuffix(h.Base.Short()+", of "+h.From, ", of ")},
		fact{"branch", branch},
		fact{"age", age},
		fact{"since", h.Since},
		fact{"shipped", strings.Join(h.Shipped, ", ")},
		fact{"reason", h.Reason},
		fact{"due", strings.Join(h.Due, "; ")},
	)
	if len(h.Commits) > 0 {
		var rows [][]string
		for _, c := range h.Commits {
			rows = append(rows, []string{c.Commit.Short(), moment(c.When), c.Author, c.Subject})
		}
		_, _ = fmt.Fprintln(w)
		writeTable(w, []string{"COMMIT", "WHEN", "AUTHOR", "SUBJECT"}, rows)
	}
	if len(h.Places) > 0 {
		var rows [][]string
		for _, p := range h.Places {
			rows = append(rows, []string{p.Place, p.Version, p.answer(), p.why()})
		}
		_, _ = fmt.Fprintln(w)
		writeTable(w, []string{"PLACE", "VERSION", "ANSWER", "WHY"}, rows)
	}
	if h.PullRequest != nil {
		_, _ = fmt.Fprintln(w)
		writeFacts(w, h.PullRequest.facts()...)
	}
	for _, left := range h.LeftOut {
		with := "the release"
		if left.Against != "" {
			with = hotfixPrefix + left.Against
		}
		because := ", because it conflicts with " + with
		if len(left.Conflicts) == 0 {
			because = "" // the note says it
		}
		_, _ = fmt.Fprintf(w, "\nleft out of the patch of %s%s:\n", left.Version, printable(because))
		for _, c := range left.Conflicts {
			c.write(w)
		}
		if left.Note != "" {
			_, _ = fmt.Fprintln(w, "  "+printable(left.Note))
		}
	}
	if h.Next != "" {
		_, _ = fmt.Fprintln(w, "\nnext: "+printable(h.Next))
	}
}

func (p hotfixPlace) answer() string {
	if !p.Required {
		return p.Answer + ", and need not be there"
	}
	return p.Answer
}

// why is the evidence, or what is in the way.
func (p hotfixPlace) why() string {
	var all []string
	if p.Evidence != "" {
		all = append(all, strings.TrimSpace(p.Evidence+" "+p.Commit.Short()))
	}
	if p.Answer != string(hotfix.Contained) {
		for _, c := range p.Conflicts {
			all = append(all, c.Text)
		}
		if len(p.Changes) > 0 && len(p.Conflicts) == 0 {
			all = append(all, "it would change "+strings.Join(p.Changes, ", "))
		}
	}
	return strings.Join(all, "; ")
}

// write shows both sides of a conflict with their lines.
func (c conflictSeen) write(w io.Writer) {
	if c.Ours.First == 0 && c.Theirs.First == 0 {
		_, _ = fmt.Fprintln(w, "  "+printable(c.Text))
		return
	}
	_, _ = fmt.Fprintln(w, "  "+printable(c.Path))
	for _, side := range []conflictSide{c.Ours, c.Theirs} {
		lines := "line " + strconv.Itoa(side.First)
		switch {
		case side.Last > side.First:
			lines = fmt.Sprintf("lines %d-%d", side.First, side.Last)
		case side.Last < side.First:
			lines += ", nothing there"
		}
		_, _ = fmt.Fprintf(w, "    %s, %s\n", printable(side.Side), lines)
		for _, line := range side.Lines {
			_, _ = fmt.Fprintln(w, "      | "+printable(line))
		}
	}
}

// hotfixLines is what status says about hotfixes; nothing when there is none that
// anybody has to do something about.
func hotfixLines(w io.Writer, hotfixes []hotfixDetails) {
	if len(hotfixes) == 0 {
		return
	}
	var rows [][]string
	for _, h := range hotfixes {
		var missing []string
		for _, p := range h.Places {
			if p.Required && p.Answer != string(hotfix.Contained) {
				missing = append(missing, p.Place)
			}
		}
		text := h.stateText()
		if h.Overdue {
			text += "; warning: " + string(promotion.BackMergeOwed)
		}
		rows = append(rows, []string{h.Name, h.age(), h.shipped(), strings.Join(missing, ", "), text, h.Next})
	}
	_, _ = fmt.Fprintln(w)
	writeTable(w, []string{"HOTFIX", "AGE", "SHIPPED", "MISSING", "STATE", "NEXT"}, rows)
}
