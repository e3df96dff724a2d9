package remote_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// sshServer runs the git commands that clients ask for, for one key.
type sshServer struct {
	address        string
	keyFile        string
	agentSocket    string
	knownHostsFile string
	hostKey        ssh.PublicKey
}

func newKey(t *testing.T) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, signer
}

func startSSH(t *testing.T) *sshServer {
	t.Helper()
	_, host := newKey(t)
	private, client := newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(client.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(host)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveSSH(t, conn, config)
		}
	}()
	s := &sshServer{
		address: listener.Addr().String(), hostKey: host.PublicKey(),
		keyFile: filepath.Join(t.TempDir(), "id"), knownHostsFile: filepath.Join(t.TempDir(), "known_hosts"),
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.keyFile, string(pem.EncodeToMemory(block)))
	write(t, s.knownHostsFile, knownhosts.Line([]string{s.address}, s.hostKey)+"\n")
	s.agentSocket = startAgent(t, private)
	return s
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func startAgent(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // socket paths are limited to about 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return socket
}

func serveSSH(t *testing.T, conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // a client that was refused, or that refused us
	}
	go ssh.DiscardRequests(requests)
	for offer := range channels {
		channel, requests, err := offer.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				continue
			}
			var command struct{ Line string }
			_ = r.Reply(ssh.Unmarshal(r.Payload, &command) == nil, nil)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command.Line) //nolint:gosec // what the test's client sends
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			stdin, err := cmd.StdinPipe()
			if err != nil {
				return
			}
			go func() { // beside Run, which must end with the program and not with its input
				_, _ = io.Copy(stdin, channel)
				_ = stdin.Close()
			}()
			status := struct{ Code uint32 }{}
			if cmd.Run() != nil {
				status.Code = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(&status))
			_ = channel.Close()
		}
	}
}

func TestSSH(t *testing.T) {
	server := startSSH(t)
	auth := remote.Auth{SSHAgentSocket: server.agentSocket, KnownHostsFile: server.knownHostsFile}
	gitrepotest.Suite(t, func(t *testing.T) gitrepotest.Fixture {
		repos := gitrepotest.Server(t, githttp.Options{})
		repos.Init("shop.git")
		dir := filepath.Join(repos.Root, "it's a shop!.git") // needs quoting
		if err := os.Rename(repos.Dir("shop.git"), dir); err != nil {
			t.Fatal(err)
		}
		return gitrepotest.Fixture{
			Client: func() gitrepo.Repo { return open(t, "ssh://"+server.address+dir, remote.Options{Auth: auth}) },
		}
	})
}

func TestSSHRefusals(t *testing.T) {
	server := startSSH(t)
	_, otherHost := newKey(t)
	wrongHosts, emptyHosts := filepath.Join(t.TempDir(), "wrong"), filepath.Join(t.TempDir(), "empty")
	write(t, wrongHosts, knownhosts.Line([]string{server.address}, otherHost.PublicKey())+"\n")
	write(t, emptyHosts, "")
	otherKey, _ := newKey(t)
	for _, test := range []struct {
		name string
		auth remote.Auth
		want error
		text string
	}{
		{"agent", remote.Auth{SSHAgentSocket: server.agentSocket, KnownHostsFile: server.knownHostsFile}, gitrepo.ErrNotFound, "not appear to be a git repository"},
		{"key file", remote.Auth{SSHKeyFile: server.keyFile, SSHKeyPassphrase: "open sesame", KnownHostsFile: server.knownHostsFile}, gitrepo.ErrNotFound, "not appear to be a git repository"},
		{"no key", remote.Auth{KnownHostsFile: server.knownHostsFile}, gitrepo.ErrUnauthorized, "key file"},
		{"other key", remote.Auth{SSHAgentSocket: startAgent(t, otherKey), KnownHostsFile: server.knownHostsFile}, gitrepo.ErrUnauthorized, "user git"},
		{"wrong passphrase", remote.Auth{SSHKeyFile: server.keyFile, SSHKeyPassphrase: "hunter2", KnownHostsFile: server.knownHostsFile}, nil, "ssh key"},
		{"unknown host", remote.Auth{SSHAgentSocket: server.agentSocket, KnownHostsFile: emptyHosts}, nil, "not in known_hosts"},
		{"another host key", remote.Auth{SSHAgentSocket: server.agentSocket, KnownHostsFile: wrongHosts}, nil, "someone may be in between"},
		{"no known_hosts", remote.Auth{SSHAgentSocket: server.agentSocket, KnownHostsFile: emptyHosts + "-gone"}, nil, "known_hosts"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := open(t, "ssh://"+server.address+"/missing.git", remote.Options{Auth: test.auth}).Refs(t.Context())
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want == nil && errors.Is(err, gitrepo.ErrUnreachable) {
				t.Errorf("trying again cannot help, but the error says so: %v", err)
			}
			if !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q in it", err, test.text)
			}
		})
	}
}
