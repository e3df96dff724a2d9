// Command gate-change-ticket is a gate for Propagator: a snapshot is promoted
// when somebody has filed a change for it. The tickets are files in a directory,
// one for each version; README.md says more.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/extension"
	"github.com/fleeting-taas/propagator/pkg/gate"
)

// maxTicket is larger than any number with its end of line.
const maxTicket = 256

func main() {
	extension.Serve(judge)
}

// judge looks for the ticket. It cannot find out what it needs with settings that
// it does not understand, so then it does not guess.
func judge(_ context.Context, s gate.Subject, settings map[string]string) gate.Verdict {
	pattern := "^[A-Z]+-[0-9]+$"
	directory := ""
	for name, value := range settings {
		switch name {
		case "directory":
			directory = value
		case "pattern":
			pattern = value
		default:
			return say(gate.Unknown, "there is no setting %q, only directory and pattern", name)
		}
	}
	if !filepath.IsAbs(directory) {
		return say(gate.Unknown, "the setting directory has to be an absolute path, not %q", directory)
	}
	form, err := regexp.Compile(pattern)
	if err != nil {
		return say(gate.Unknown, "the setting pattern is no regular expression: %v", err)
	}
	// No slash, so that a key of a ConfigMap can be a ticket.
	file := filepath.Join(directory, s.Pipeline+"-"+s.Version.Number())
	number, err := read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && exists(directory):
		return say(gate.Wait, "no change is filed for %s; write its number into %s", s.Version, file)
	case err != nil:
		return say(gate.Unknown, "%v", err)
	case !form.MatchString(number):
		return say(gate.Refuse, "%s has %q in it, which is not the number of a change", file, number)
	}
	return say(gate.Pass, "change %s is filed for %s", number, s.Version)
}

func say(result gate.Result, format string, args ...any) gate.Verdict {
	return gate.Verdict{Result: result, Detail: fmt.Sprintf(format, args...)}
}

func exists(directory string) bool {
	_, err := os.Stat(directory)
	return err == nil
}

func read(path string) (string, error) {
	file, err := os.Open(path) //nolint:gosec // the settings name the directory, Propagator the file
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxTicket+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxTicket || bytes.ContainsRune(bytes.TrimSpace(text), '\n'):
		return "", fmt.Errorf("%s has more in it than one number", path)
	}
	return strings.TrimSpace(string(text)), nil
}
