package extension

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
)

// protocolVersion is that of gatev1. Another one is another entry in versions.
const protocolVersion = 1

// pluginName is the only plugin of each version.
const pluginName = "gate"

// maxHello bounds the line with which a program says where it listens. Most of it
// is a certificate.
const maxHello = 16 << 10

// handshake keeps programs apart that have nothing to do with each other. It is
// no secret: docs/gate-plugins.md has it.
func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  protocolVersion,
		MagicCookieKey:   "PROPAGATOR_GATE_PLUGIN",
		MagicCookieValue: "a-gate-of-propagator",
	}
}

// versions are what both sides can speak; the newest that both know is used.
func versions(w *wire) map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{protocolVersion: {pluginName: w}}
}

// checkHello judges the line that a program begins with, before the library does:
//
//	1|1|unix|/path/of/the.sock|grpc|certificate
//
// that is the library's version, the protocol's version, where it listens, how it
// speaks, and the certificate in base64 without padding. The socket is in sockets
// or on loopback: a connection goes nowhere else.
func checkHello(line, sockets string) error {
	fields := strings.Split(strings.TrimSpace(line), "|")
	if len(fields) < 4 {
		return fmt.Errorf("is no plugin: it printed %q", shorten(flatten(line)))
	}
	if fields[0] != strconv.Itoa(plugin.CoreProtocolVersion) {
		return fmt.Errorf("speaks version %q of go-plugin's protocol, and %d is expected", shorten(flatten(fields[0])), plugin.CoreProtocolVersion)
	}
	if fields[1] != strconv.Itoa(protocolVersion) {
		return fmt.Errorf("speaks version %q of the gate protocol, and this Propagator speaks %d", shorten(flatten(fields[1])), protocolVersion)
	}
	if err := checkAddress(fields[2], fields[3], sockets); err != nil {
		return err
	}
	if len(fields) < 5 || fields[4] != string(plugin.ProtocolGRPC) {
		return errors.New("does not speak gRPC")
	}
	if len(fields) < 6 || fields[5] == "" {
		return errors.New("has no certificate, so that anybody could answer in its place; see PLUGIN_CLIENT_CERT")
	}
	der, err := base64.RawStdEncoding.DecodeString(fields[5])
	if err == nil {
		_, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return fmt.Errorf("has a certificate that is none: %w", err)
	}
	return nil
}

func checkAddress(network, address, sockets string) error {
	local := false
	switch network {
	case "unix":
		below, err := filepath.Rel(sockets, address)
		local = err == nil && below != "." && filepath.IsLocal(below)
	case "tcp":
		at, err := netip.ParseAddrPort(address)
		local = err == nil && at.Addr().IsLoopback() && at.Port() != 0
	}
	if !local {
		return fmt.Errorf("listens on %s %q; it has to be a socket in the directory PLUGIN_UNIX_SOCKET_DIR, or on 127.0.0.1",
			shorten(flatten(network)), shorten(flatten(address)))
	}
	return nil
}

// hello is the standard output of a program for the library: the first line when
// it is right, and then nothing. What follows goes to the log.
type hello struct {
	from    io.ReadCloser
	log     io.Writer
	sockets string
	// exited is closed after the program's end.
	exited <-chan struct{}

	// pending is the checked line, as far as the library has not read it. Only
	// Read uses it.
	pending []byte
	said    bool

	mu  sync.Mutex
	err error
}

// Read implements io.Reader.
func (h *hello) Read(b []byte) (int, error) {
	if !h.said {
		h.said = true
		line, err := h.first()
		h.mu.Lock()
		h.err = err
		h.mu.Unlock()
		if err != nil {
			// The library takes the end for an answer, and ends the program.
			return 0, io.EOF
		}
		h.pending = []byte(line)
	}
	if len(h.pending) > 0 {
		n := copy(b, h.pending)
		h.pending = h.pending[n:]
		return n, nil
	}
	// However it ends, the process tells how it ended.
	_, _ = io.Copy(h.log, h.from)
	return 0, io.EOF
}

// Close implements io.Closer.
func (h *hello) Close() error { return h.from.Close() }

// fault is why the line was not right; nil when it was, or was never read.
func (h *hello) fault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// errSilent: the output ended without a line.
var errSilent = errors.New("did not say where it listens; is it a plugin?")

func (h *hello) first() (string, error) {
	var line []byte
	buffer := make([]byte, 4<<10)
	for {
		n, err := h.from.Read(buffer)
		part, rest, ended := bytes.Cut(buffer[:n], []byte("\n"))
		line = append(line, part...)
		switch {
		case ended && len(line) <= maxHello:
			_, _ = h.log.Write(rest)
			text := strings.TrimSpace(string(line))
			return text + "\n", checkHello(text, h.sockets)
		case len(line) > maxHello:
			return "", fmt.Errorf("is no plugin: its first line is longer than %d bytes", maxHello)
		case err != nil && len(line) == 0:
			// How the program ended is known a moment after its output.
			select {
			case <-h.exited:
			case <-time.After(grace):
			}
			return "", errSilent
		case err != nil:
			if err := checkHello(string(line), h.sockets); err != nil {
				return "", err
			}
			return "", errors.New("ended in the middle of its first line")
		}
	}
}
