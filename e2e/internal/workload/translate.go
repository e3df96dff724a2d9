package workload

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// local is what a replica of a container has on this machine.
type local struct {
	// volume returns the directory of a volume of its Pod.
	volume func(name string) string
	// private is a directory for what is in the image's file system.
	private string
	// port returns the local port for one of the container's, always the same.
	port func(number int) (int, error)
	// forward returns a local address for that of a Service.
	forward func(address string) (string, error)
	// kubeconfig is empty for a container without a token.
	kubeconfig string
	// env is what every process gets.
	env []string
}

// command is a process that stands for a container.
type command struct {
	path string
	args []string
	env  []string
	dir  string
	// ports are the local addresses, by the container's port.
	ports map[int]string
	// first is the port of the first address, 0 if there is none.
	first int
}

// translation is under way.
type translation struct {
	container *Container
	program   Program
	local     local
	free      map[string]bool // Variables and flags that are settled.
	args      arguments
	env       map[string]string
	out       *command
}

// translate turns a container into a command of this machine.
func translate(c *Container, image *Image, l local) (*command, error) {
	program, args, err := image.program(c)
	if err != nil {
		return nil, &StartError{Reason: ReasonRun, Err: err}
	}
	t := &translation{
		container: c, program: program, local: l, free: map[string]bool{}, args: args, env: map[string]string{},
		out: &command{path: program.Path, ports: map[int]string{}},
	}
	for _, v := range c.Env {
		t.env[v.Name] = v.Value
		// A password may look like a path, and may not stand in an error.
		t.free[v.Name] = v.Secret
	}
	for _, name := range program.Free {
		t.free[name] = true
	}
	if err := t.translate(); err != nil {
		return nil, &StartError{Reason: ReasonRun, Err: fmt.Errorf("translate %s: %s", c.Name, redact(err.Error(), c.Env))}
	}
	t.finish(image)
	return t.out, nil
}

// redact takes the values of Secrets out of a text; arguments may hold them.
func redact(text string, env []Variable) string {
	for _, v := range env {
		if v.Secret && v.Value != "" {
			text = strings.ReplaceAll(text, v.Value, "REDACTED")
		}
	}
	return text
}

func (t *translation) translate() error {
	var errs []error
	for _, listen := range t.program.Listen {
		errs = append(errs, t.listen(listen))
	}
	for _, peer := range t.program.Peers {
		errs = append(errs, t.peer(peer))
	}
	for _, path := range t.program.Paths {
		errs = append(errs, t.builtIn(path))
	}
	errs = append(errs, t.rest())
	for _, port := range t.container.Ports {
		if t.out.ports[port.Number] == "" {
			errs = append(errs, fmt.Errorf("it declares the port %s %d, on which the program does not listen", port.Name, port.Number))
		}
	}
	return errors.Join(errs...)
}

// get returns the value of a setting.
func (t *translation) get(s Setting) string {
	if s.Flag != "" {
		if value, ok := t.args.lookup(s.Flag); ok {
			return value
		}
	}
	if s.Variable != "" && t.env[s.Variable] != "" {
		return t.env[s.Variable]
	}
	return s.Default
}

// set gives a setting another value, by its variable if that can be: command
// lines are what people compare with the manifest.
func (t *translation) set(s Setting, value string) {
	t.free[s.Flag], t.free[s.Variable] = s.Flag != "", s.Variable != ""
	inArgs := false
	if s.Flag != "" {
		_, inArgs = t.args.lookup(s.Flag)
	}
	if s.Variable != "" && !inArgs {
		t.env[s.Variable] = value
		return
	}
	t.args = t.args.with(s.Flag, value, t.program.TwoWords)
}

const loopback = "127.0.0.1"

// noHost is the flag of a [Listen].Host that does not exist.
const noHost = "-"

// listen gives an address a free port of loopback.
func (t *translation) listen(l Listen) error {
	value := t.get(l.Setting)
	if value == "" {
		return nil
	}
	port := value
	if !l.apart() {
		var err error
		if _, port, err = net.SplitHostPort(value); err != nil {
			return fmt.Errorf("%s: %q is no address to listen on", l.name(), value)
		}
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("%s: %q is no port", l.name(), port)
	}
	free, err := t.local.port(number)
	if err != nil {
		return err
	}
	address := net.JoinHostPort(loopback, strconv.Itoa(free))
	if l.apart() {
		t.set(l.Setting, strconv.Itoa(free))
		if l.Host.Flag != noHost {
			t.set(l.Host, loopback)
		}
	} else {
		t.set(l.Setting, address)
	}
	if other, ok := t.out.ports[number]; ok {
		return fmt.Errorf("%s: the program listens on port %d twice, here as %s", l.name(), number, other)
	}
	t.out.ports[number] = address
	if t.out.first == 0 {
		t.out.first = number
	}
	return nil
}

// peer leads a connection to a Service over the network.
func (t *translation) peer(s Setting) error {
	value := t.get(s)
	if value == "" {
		return nil
	}
	address, err := t.local.forward(value)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name(), err)
	}
	t.set(s, address)
	return nil
}

// builtIn translates a path that the program knows by itself. Below no mount it
// is in the image's file system.
func (t *translation) builtIn(s Setting) error {
	value := t.get(s)
	if !strings.HasPrefix(value, "/") {
		return fmt.Errorf("%s: %q is no absolute path", s.name(), value)
	}
	path, ok := t.path(value)
	if !ok {
		if value != s.Default {
			return fmt.Errorf("%s: %s is below no volumeMount", s.name(), value)
		}
		path = filepath.Join(t.local.private, filepath.FromSlash(value))
	}
	t.set(s, path)
	return nil
}

func (s Setting) name() string {
	if s.Flag != "" {
		return s.Flag
	}
	return s.Variable
}

// path translates a path below a mount.
func (t *translation) path(path string) (string, bool) {
	var best *Mount
	for i, m := range t.container.Mounts {
		if (path == m.Path || strings.HasPrefix(path, strings.TrimSuffix(m.Path, "/")+"/")) && (best == nil || len(m.Path) > len(best.Path)) {
			best = &t.container.Mounts[i]
		}
	}
	if best == nil {
		return "", false
	}
	rest := strings.TrimPrefix(path, best.Path)
	return filepath.Join(t.local.volume(best.Volume), filepath.FromSlash(best.SubPath), filepath.FromSlash(rest)), true
}

// finish puts the environment together, later entries winning: the image's,
// the suite's, the program's, the container's.
func (t *translation) finish(image *Image) {
	tmp, ok := t.path("/tmp")
	switch {
	case ok:
	case t.container.ReadOnlyRoot:
		// As in the container, there is nowhere to write.
		tmp = filepath.Join(t.local.private, "read-only")
	default:
		tmp = filepath.Join(t.local.private, "tmp")
	}
	env := map[string]string{
		"PATH":     image.Path,
		"HOME":     t.place(image.Home),
		"TMPDIR":   tmp,
		"HOSTNAME": t.container.Pod,
	}
	for _, list := range [][]string{image.Env, t.local.env, t.program.Env} {
		for _, entry := range list {
			name, value, _ := strings.Cut(entry, "=")
			env[name] = value
		}
	}
	if t.local.kubeconfig != "" && t.program.Kubeconfig != "" {
		env[t.program.Kubeconfig] = t.local.kubeconfig
	}
	maps.Copy(env, t.env)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		t.out.env = append(t.out.env, name+"="+env[name])
	}
	t.out.args = t.args
	t.out.dir = t.place(t.container.WorkingDir)
}

// place is the local directory for one of the container, mounted or not.
func (t *translation) place(dir string) string {
	if dir != "" {
		if path, ok := t.path(dir); ok {
			return path
		}
	}
	return filepath.Join(t.local.private, "root")
}
