package remote

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Variables that hold secrets; there are no flags for them, because command
// lines are visible to everybody on a machine.
const (
	passwordVariable   = "PROPAGATOR_GIT_PASSWORD"       //nolint:gosec // a variable's name
	passphraseVariable = "PROPAGATOR_GIT_SSH_PASSPHRASE" //nolint:gosec // a variable's name
)

// Flags are the command-line options of every program that uses a repository.
type Flags struct {
	// Repositories are URLs or paths.
	Repositories []string
	// Branch is the source branch.
	Branch       string
	Username     string
	PasswordFile string
	SSHKeyFile   string
	KnownHosts   string
	CAFile       string
	Timeout      time.Duration
	// OnRoundTrip and MaxFetch are handed to Options; they have no flag.
	OnRoundTrip func(RoundTrip)
	MaxFetch    int64
}

// Bind adds the flags. many allows --repository to be repeated.
func (f *Flags) Bind(flags *pflag.FlagSet, many bool) {
	usage := "URL or path of the GitOps repository"
	if many {
		usage += "; may be repeated, one pipeline each"
	}
	flags.StringSliceVarP(&f.Repositories, "repository", "r", f.Repositories, usage)
	flags.StringVar(&f.Branch, "branch", "main", "source branch that holds propagator.yaml")
	flags.StringVar(&f.Username, "git-username", f.Username, "user for git over http(s) or ssh")
	flags.StringVar(&f.PasswordFile, "git-password-file", f.PasswordFile, "file with the password or access token for git (or the variable "+passwordVariable+")")
	flags.StringVar(&f.SSHKeyFile, "git-ssh-key", f.SSHKeyFile, "private key file for git over ssh (passphrase: the variable "+passphraseVariable+")")
	flags.StringVar(&f.KnownHosts, "git-known-hosts", f.KnownHosts, "known_hosts file for git over ssh")
	flags.StringVar(&f.CAFile, "git-ca-file", f.CAFile, "PEM file of certificate authorities to trust for git beside the system's")
	flags.DurationVar(&f.Timeout, "git-timeout", 2*time.Minute, "limit for one git operation")
}

// Openers returns one opener a repository. env is a list of NAME=value. The
// password file must be readable now, and is read again for each request, so that
// a rotated token is picked up; the bundle of authorities is read again each time
// a repository is opened.
func (f *Flags) Openers(env []string, log *slog.Logger) ([]gitrepo.Opener, error) {
	if len(f.Repositories) == 0 {
		return nil, errors.New("no repository; name it with --repository")
	}
	openers := make([]gitrepo.Opener, 0, len(f.Repositories))
	for _, url := range f.Repositories {
		open := func() (gitrepo.Repo, error) {
			options, err := f.options(env, log)
			if err != nil {
				return nil, err
			}
			return Open(url, options)
		}
		if _, err := open(); err != nil {
			return nil, err
		}
		openers = append(openers, open)
	}
	return openers, nil
}

func (f *Flags) options(env []string, log *slog.Logger) (Options, error) {
	options := Options{
		Auth: Auth{
			Username:         f.Username,
			Password:         variable(env, passwordVariable),
			SSHKeyFile:       f.SSHKeyFile,
			SSHKeyPassphrase: variable(env, passphraseVariable),
			SSHAgentSocket:   variable(env, "SSH_AUTH_SOCK"),
			KnownHostsFile:   f.KnownHosts,
		},
		Timeout:     f.Timeout,
		Logger:      log,
		OnRoundTrip: f.OnRoundTrip,
		MaxFetch:    f.MaxFetch,
	}
	if f.PasswordFile != "" {
		if _, err := readPassword(f.PasswordFile); err != nil {
			return options, fmt.Errorf("--git-password-file: %w", err)
		}
		options.Auth.Password, options.Auth.PasswordFile = "", f.PasswordFile
	}
	if f.CAFile != "" {
		bundle, err := os.ReadFile(f.CAFile)
		if err != nil {
			return options, fmt.Errorf("--git-ca-file: %w", err)
		}
		options.CABundle = bundle
	}
	return options, nil
}

func variable(env []string, name string) string {
	for _, assignment := range env {
		if value, ok := strings.CutPrefix(assignment, name+"="); ok {
			return value
		}
	}
	return ""
}
