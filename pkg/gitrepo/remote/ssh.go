package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// sshDialer starts git's programs on an ssh server. go-git's own transport
// cannot be cancelled while it connects, therefore the connection is made here.
type sshDialer struct {
	endpoint *transport.Endpoint
	user     string
	secrets  *credentials
}

func (d *sshDialer) stateless() bool { return false }
func (d *sshDialer) host() string    { return d.endpoint.Host }

func (d *sshDialer) address() string {
	port := d.endpoint.Port
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(strings.Trim(d.endpoint.Host, "[]"), strconv.Itoa(port))
}

func (d *sshDialer) again(service) session { return nil }

func (d *sshDialer) list(ctx context.Context, prefixes []string) (gitrepo.Refs, error) {
	return listByAdvertisement(ctx, d, prefixes)
}

func (d *sshDialer) open(ctx context.Context, s service) (session, error) {
	var closers []func() error
	closeAll := func() {
		for _, c := range closers {
			_ = c()
		}
	}
	config, closeAgent, err := d.config(ctx)
	if err != nil {
		return nil, err
	}
	closers = append(closers, closeAgent)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.address())
	if err != nil {
		closeAll()
		return nil, err
	}
	// Closing the connection is what ends every read and write on it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	closers = append(closers, conn.Close, func() error { stop(); return nil })
	p, err := d.start(conn, config, s)
	if err != nil {
		closeAll()
		return nil, err
	}
	wait := p.wait
	p.wait = func() error {
		defer closeAll()
		return wait()
	}
	return newStream(p)
}

func (d *sshDialer) start(conn net.Conn, config *ssh.ClientConfig, s service) (program, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, d.address(), config)
	if err != nil {
		return program{}, d.handshakeError(err)
	}
	channel, err := ssh.NewClient(c, channels, requests).NewSession()
	if err != nil {
		return program{}, err
	}
	p := program{stderr: &tail{}, wait: channel.Wait}
	channel.Stderr = p.stderr
	if p.stdin, err = channel.StdinPipe(); err != nil {
		return program{}, err
	}
	if p.stdout, err = channel.StdoutPipe(); err != nil {
		return program{}, err
	}
	return p, channel.Start("git-" + string(s) + " " + shellQuote(repositoryPath(d.endpoint.Path)))
}

// repositoryPath undoes what the URL form ssh://host/~user/repo does to paths
// relative to a home.
func repositoryPath(path string) string {
	if strings.HasPrefix(path, "/~") {
		return path[1:]
	}
	return path
}

// shellQuote is git's own quoting; servers parse exactly this.
func shellQuote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

func (d *sshDialer) handshakeError(err error) error {
	switch {
	case knownhosts.IsHostKeyChanged(err):
		return fmt.Errorf("%w: the host key of %s is not the known one; someone may be in between, or the server was set up anew: check, then correct known_hosts", errSetup, d.address())
	case knownhosts.IsHostUnknown(err):
		return fmt.Errorf("%w: the host key of %s is not in known_hosts; add it after checking its fingerprint", errSetup, d.address())
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w: the ssh server refuses user %s with this key or password", gitrepo.ErrUnauthorized, d.user)
	}
	return err
}

// config prepares key and host key check. The returned function closes the
// connection to the agent.
func (d *sshDialer) config(ctx context.Context) (*ssh.ClientConfig, func() error, error) {
	nothing := func() error { return nil }
	auth, err := d.secrets.now()
	if err != nil {
		return nil, nothing, err
	}
	hosts, err := knownHosts(auth.KnownHostsFile)
	if err != nil {
		return nil, nothing, err
	}
	config := &ssh.ClientConfig{
		User:              auth.Username,
		HostKeyCallback:   hosts.HostKeyCallback(),
		HostKeyAlgorithms: hosts.HostKeyAlgorithms(d.address()),
	}
	switch {
	case auth.SSHKeyFile != "":
		signer, err := privateKey(auth)
		if err != nil {
			return nil, nothing, err
		}
		config.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	case auth.SSHAgentSocket != "":
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", auth.SSHAgentSocket)
		if err != nil {
			return nil, nothing, fmt.Errorf("%w: ssh agent: %w", errSetup, err)
		}
		config.Auth = []ssh.AuthMethod{ssh.PublicKeysCallback(agent.NewClient(conn).Signers)}
		return config, conn.Close, nil
	case auth.Password != "":
		config.Auth = []ssh.AuthMethod{ssh.Password(auth.Password)}
	default:
		return nil, nothing, fmt.Errorf("%w: no ssh key was given; give a key file or an agent", gitrepo.ErrUnauthorized)
	}
	return config, nothing, nil
}

func privateKey(a Auth) (ssh.Signer, error) {
	pem, err := os.ReadFile(a.SSHKeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: ssh key: %w", errSetup, err)
	}
	var signer ssh.Signer
	if a.SSHKeyPassphrase != "" {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(a.SSHKeyPassphrase))
	} else {
		signer, err = ssh.ParsePrivateKey(pem)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: ssh key %s: %w", errSetup, a.SSHKeyFile, err)
	}
	return signer, nil
}

func knownHosts(file string) (*knownhosts.HostKeyDB, error) {
	files := []string{file}
	if file == "" {
		files = []string{"/etc/ssh/ssh_known_hosts"}
		if home, err := os.UserHomeDir(); err == nil {
			files = append(files, filepath.Join(home, ".ssh", "known_hosts"))
		}
		present := files[:0]
		for _, f := range files {
			if _, err := os.Stat(f); err == nil {
				present = append(present, f)
			}
		}
		if files = present; len(files) == 0 {
			return nil, fmt.Errorf("%w: there is no known_hosts file to check the server's key against; give one", errSetup)
		}
	}
	db, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, errors.Join(errSetup, fmt.Errorf("known_hosts: %w", err))
	}
	return db, nil
}
