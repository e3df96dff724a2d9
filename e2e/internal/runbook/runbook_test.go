package runbook

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "# Install\n\nText\n\n```sh\nexport NAME=example   # yours\nexport OTHER=kept\n```\n\n```yaml\na: b\n```\n\n" +
	"## Check\n\n```console\n$ not run\n```\n\n```sh\necho \"$NAME $OTHER\"\n```\n"

func TestBlocksOfAPage(t *testing.T) {
	blocks, err := Parse([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{Section: "Install", Line: 6, Script: "export NAME=example   # yours\nexport OTHER=kept\n"},
		{Section: "Check", Line: 21, Script: "echo \"$NAME $OTHER\"\n"},
	}
	if diff := cmp.Diff(want, blocks); diff != "" {
		t.Error(diff)
	}
	if _, err := Sections(blocks, "Check", "Elsewhere"); err == nil || !strings.Contains(err.Error(), `"Elsewhere"`) {
		t.Errorf("a heading that is not there gave %v", err)
	}
}

func TestFaultsOfAPage(t *testing.T) {
	for name, page := range map[string]string{
		"open block":  "```sh\necho\n",
		"no commands": "# Install\n\n```console\n$ x\n```\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(page)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestExportsReachTheNextBlock(t *testing.T) {
	blocks, err := Parse([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	shell := &Shell{Dir: t.TempDir(), Replace: map[string]string{"NAME": "it's mine"}}
	var output string
	for _, block := range blocks {
		if output, err = shell.Run(t.Context(), block); err != nil {
			t.Fatal(err)
		}
	}
	if output != "it's mine kept\n" {
		t.Errorf("the second block printed %q", output)
	}
}

func TestTheFirstFailureEndsABlock(t *testing.T) {
	shell := &Shell{Dir: t.TempDir()}
	output, err := shell.Run(t.Context(), Block{Section: "Check", Line: 7, Script: "echo before\nfalse | cat\necho after\n"})
	if err == nil || strings.Contains(output, "after") || !strings.Contains(err.Error(), "Check, line 7") {
		t.Errorf("got %q and %v", output, err)
	}
}
