package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/config"
)

// UserEmail is the e-mail address of the person, as Git has it: user.email of
// the checkout around dir, otherwise of the person's own configuration. It is
// empty when neither has one; a directory outside of a checkout is no error.
func UserEmail(dir string) (string, error) {
	if _, gitDir, err := checkout(dir); err == nil {
		file, err := os.Open(filepath.Join(gitDir, "config")) //nolint:gosec // the checkout's own configuration
		if err != nil {
			return "", fmt.Errorf("git configuration: %w", err)
		}
		defer func() { _ = file.Close() }()
		c, err := config.ReadConfig(file)
		if err != nil {
			// The parser's words would repeat lines of the file, which may hold credentials.
			return "", errors.New("the git configuration of the checkout cannot be read; see git config --list --local")
		}
		if c.User.Email != "" {
			return c.User.Email, nil
		}
	}
	c, err := config.LoadConfig(config.GlobalScope)
	if err != nil {
		return "", errors.New("your git configuration cannot be read; see git config --list --global")
	}
	return c.User.Email, nil
}
