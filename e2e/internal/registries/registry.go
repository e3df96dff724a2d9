package registries

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

// Registry is one registry. Its methods may be called concurrently.
type Registry struct {
	name    string
	dir     string
	binary  string
	address string
	deletes bool

	mu      sync.Mutex // guards process
	process *process.Process

	// A mutex of its own, as passwords are asked for while a process starts.
	passwords sync.Mutex // guards password and expired
	password  string     // empty: open to everybody
	expired   []string
}

// Name is the registry's name in image references.
func (r *Registry) Name() string { return r.name }

// Address is the host and port where the registry is reached. It stays the
// same when the registry is started again.
func (r *Registry) Address() string { return r.address }

// URL is where the registry is reached, without a slash at the end.
func (r *Registry) URL() string { return "http://" + r.address }

// Credentials are empty for a registry that is open to everybody.
func (r *Registry) Credentials() (user, password string) {
	r.passwords.Lock()
	defer r.passwords.Unlock()
	if r.password == "" {
		return "", ""
	}
	return username, r.password
}

// SetPassword replaces the password of a registry that has one. From then on the
// one before is refused, as when it has expired.
func (r *Registry) SetPassword(password string) error {
	r.passwords.Lock()
	defer r.passwords.Unlock()
	if r.password == "" || password == "" {
		return fmt.Errorf("registry %s: it is open to everybody, or would be", r.name)
	}
	r.expired = append(r.expired, r.password)
	r.password = password
	return r.writeUsers(password)
}

// users is the file with the registry's users, which it reads again when it has
// changed.
func (r *Registry) users() string { return filepath.Join(r.dir, "htpasswd") }

func (r *Registry) writeUsers(password string) error {
	// The registry checks the password anew for every request: the lowest cost,
	// or the checks would be what the suite measures.
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return err
	}
	return os.WriteFile(r.users(), []byte(username+":"+string(hash)+"\n"), 0o600)
}

func (r *Registry) storage() string       { return filepath.Join(r.dir, "images") }
func (r *Registry) configuration() string { return filepath.Join(r.dir, "config.yaml") }

// prepare chooses a port and writes the files that the process reads.
func (r *Registry) prepare() error {
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	r.address = "127.0.0.1:" + strconv.Itoa(port)
	if err := os.MkdirAll(r.storage(), 0o750); err != nil {
		return err
	}
	users := ""
	if _, password := r.Credentials(); password != "" {
		users = r.users()
		if err := r.writeUsers(password); err != nil {
			return err
		}
	}
	config, err := yaml.Marshal(r.settings(users))
	if err != nil {
		return err
	}
	return os.WriteFile(r.configuration(), config, 0o600)
}

// settings is the configuration of the distribution registry.
func (r *Registry) settings(users string) map[string]any {
	off := map[string]any{"enabled": false}
	settings := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "warn"},
		"storage": map[string]any{
			"filesystem":  map[string]any{"rootdirectory": r.storage()},
			"delete":      map[string]any{"enabled": r.deletes},
			"maintenance": map[string]any{"uploadpurging": off}, // nothing happens that no test asked for
		},
		"http": map[string]any{
			"addr":   r.address,
			"secret": rand.Text(), // the same after a restart, so that uploads can go on
		},
	}
	if users != "" {
		settings["auth"] = map[string]any{"htpasswd": map[string]any{"realm": r.name, "path": users}}
	}
	return settings
}

// Start starts the registry, again if it was stopped, with all its images, and
// waits until it answers. It is an error if it runs already.
func (r *Registry) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running() {
		return fmt.Errorf("start registry %s: it runs already", r.name)
	}
	started, err := process.Start(ctx, process.Spec{
		Name: "registry " + r.name,
		Path: r.binary,
		Args: []string{"serve", r.configuration()},
		// It would send traces to an address of its own choice otherwise.
		Env:   append(process.HostEnv(), "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"),
		Dir:   r.dir,
		Log:   r.LogPath(),
		Ready: process.Answers(nil, r.URL()+"/"),
	})
	if err != nil {
		return err
	}
	r.process = started
	return nil
}

// running needs the lock.
func (r *Registry) running() bool {
	if r.process == nil {
		return false
	}
	select {
	case <-r.process.Done():
		return false
	default:
		return true
	}
}

// Stop stops the registry; from then on connections are refused. It is no
// error if it does not run.
func (r *Registry) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return nil
	}
	return r.process.Stop(ctx)
}

// Kill ends the registry at once, in the middle of whatever it does.
func (r *Registry) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		r.process.Kill()
	}
}

// LogPath is the file with the registry's requests and complaints.
func (r *Registry) LogPath() string { return filepath.Join(r.dir, "registry.log") }

// ErrNotFound says that the registry has no such manifest or repository.
var ErrNotFound = errors.New("not found")
