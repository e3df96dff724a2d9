// Package runbook runs the commands of a page of documentation, word for word,
// so that the page cannot tell anything that does not work.
package runbook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Block is one fenced block of commands.
type Block struct {
	// Section is the heading above it, Line where its first command is.
	Section string
	Line    int
	Script  string
}

// Parse finds the blocks that are fenced as sh. Others (console, yaml) are for
// reading. A page without any is an error, as is a fence that does not end.
func Parse(page []byte) ([]Block, error) {
	var (
		blocks  []Block
		section string
		fence   string // of the block that is open
		script  []string
		start   int
	)
	for i, line := range strings.Split(string(page), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence == "" && strings.HasPrefix(trimmed, "#"):
			section = strings.TrimSpace(strings.TrimLeft(trimmed, "#"))
		case fence == "" && strings.HasPrefix(trimmed, "```"):
			fence, script, start = strings.TrimPrefix(trimmed, "```"), nil, i+2
			if fence == "" {
				fence = "text"
			}
		case fence != "" && trimmed == "```":
			if fence == "sh" {
				blocks = append(blocks, Block{Section: section, Line: start, Script: strings.Join(script, "\n") + "\n"})
			}
			fence = ""
		case fence != "":
			script = append(script, line)
		}
	}
	if fence != "" {
		return nil, fmt.Errorf("line %d: the block does not end", start)
	}
	if len(blocks) == 0 {
		return nil, errors.New("there are no commands: no block is fenced as sh")
	}
	return blocks, nil
}

// Sections returns the blocks below the named headings, in the page's order. A
// heading without commands is an error: the page was changed.
func Sections(blocks []Block, headings ...string) ([]Block, error) {
	found := map[string]bool{}
	var selected []Block
	for _, block := range blocks {
		for _, heading := range headings {
			if block.Section == heading {
				selected = append(selected, block)
				found[heading] = true
			}
		}
	}
	for _, heading := range headings {
		if !found[heading] {
			return nil, fmt.Errorf("there are no commands below %q", heading)
		}
	}
	return selected, nil
}

// Shell keeps what one block exports for the next, as a terminal does.
type Shell struct {
	// Dir is where commands run.
	Dir string
	// Env is the environment of the first block, as NAME=value; each block
	// leaves its own behind.
	Env []string
	// Replace holds the values of the reader, by the name of the variable that a
	// block exports with an example for a value.
	Replace map[string]string
}

// Run runs one block with bash, stops at the first command that fails, and
// returns what it printed.
func (s *Shell) Run(ctx context.Context, b Block) (string, error) {
	state, err := os.CreateTemp("", "environment")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(state.Name()); _ = state.Close() }()

	script := "set -euo pipefail\n" + s.replaced(b.Script) + "\nenv -0 > " + state.Name() + "\n"
	command := exec.CommandContext(ctx, "bash", "-c", script)
	command.Dir, command.Env = s.Dir, s.Env
	output, err := command.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("%s, line %d: %w\n%s\n%s", b.Section, b.Line, err, b.Script, output)
	}
	after, err := os.ReadFile(state.Name())
	if err != nil {
		return string(output), err
	}
	s.Env = nil
	for _, assignment := range bytes.Split(bytes.TrimRight(after, "\x00"), []byte{0}) {
		s.Env = append(s.Env, string(assignment))
	}
	return string(output), nil
}

// replaced puts the reader's own values where the page exports its examples.
func (s *Shell) replaced(script string) string {
	lines := strings.Split(script, "\n")
	for i, line := range lines {
		assignment := strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, _, ok := strings.Cut(assignment, "=")
		value, known := s.Replace[name]
		if ok && known && assignment != strings.TrimSpace(line) {
			lines[i] = "export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
	}
	return strings.Join(lines, "\n")
}
