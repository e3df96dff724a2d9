package extension

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// certificate is what a program would send.
func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawStdEncoding.EncodeToString(der)
}

func TestCheckHello(t *testing.T) {
	cert := certificate(t)
	const elsewhere = "; it has to be a socket in the directory PLUGIN_UNIX_SOCKET_DIR, or on 127.0.0.1"
	tests := []struct{ name, line, want string }{
		{"unix", "1|1|unix|/s/plugin1|grpc|" + cert, ""},
		{"folder", "1|1|unix|/s/a/b|grpc|" + cert, ""},
		{"tcp", "1|1|tcp|127.0.0.1:4711|grpc|" + cert, ""},
		{"tcp 6", "1|1|tcp|[::1]:4711|grpc|" + cert, ""},
		{"more fields", "1|1|unix|/s/plugin1|grpc|" + cert + "|true|x", ""},
		{"nothing", "", `is no plugin: it printed ""`},
		{"words", "Hello,\tworld", `is no plugin: it printed "Hello, world"`},
		{"three fields", "1|1|unix", `is no plugin: it printed "1|1|unix"`},
		{"library", "2|1|unix|/s/plugin1|grpc|" + cert, `speaks version "2" of go-plugin's protocol, and 1 is expected`},
		{"no number", "x|1|unix|/s/plugin1|grpc|" + cert, `speaks version "x" of go-plugin's protocol, and 1 is expected`},
		{"version", "1|2|unix|/s/plugin1|grpc|" + cert, `speaks version "2" of the gate protocol, and this Propagator speaks 1`},
		{"sign", "1|+1|unix|/s/plugin1|grpc|" + cert, `speaks version "+1" of the gate protocol, and this Propagator speaks 1`},
		{"elsewhere", "1|1|unix|/run/docker.sock|grpc|" + cert, `listens on unix "/run/docker.sock"` + elsewhere},
		{"up", "1|1|unix|/s/../run/docker.sock|grpc|" + cert, `listens on unix "/s/../run/docker.sock"` + elsewhere},
		{"directory", "1|1|unix|/s|grpc|" + cert, `listens on unix "/s"` + elsewhere},
		{"relative", "1|1|unix|s/plugin1|grpc|" + cert, `listens on unix "s/plugin1"` + elsewhere},
		{"abstract", "1|1|unix|@plugin1|grpc|" + cert, `listens on unix "@plugin1"` + elsewhere},
		{"other machine", "1|1|tcp|192.0.2.1:443|grpc|" + cert, `listens on tcp "192.0.2.1:443"` + elsewhere},
		{"name", "1|1|tcp|localhost:443|grpc|" + cert, `listens on tcp "localhost:443"` + elsewhere},
		{"no port", "1|1|tcp|127.0.0.1:0|grpc|" + cert, `listens on tcp "127.0.0.1:0"` + elsewhere},
		{"network", "1|1|udp|127.0.0.1:443|grpc|" + cert, `listens on udp "127.0.0.1:443"` + elsewhere},
		{"no protocol", "1|1|unix|/s/plugin1", "does not speak gRPC"},
		{"protocol", "1|1|unix|/s/plugin1|netrpc|" + cert, "does not speak gRPC"},
		{"no certificate", "1|1|unix|/s/plugin1|grpc", "has no certificate, so that anybody could answer in its place; see PLUGIN_CLIENT_CERT"},
		{"empty certificate", "1|1|unix|/s/plugin1|grpc|", "has no certificate, so that anybody could answer in its place; see PLUGIN_CLIENT_CERT"},
		{"no base64", "1|1|unix|/s/plugin1|grpc|!", "has a certificate that is none: illegal base64 data at input byte 0"},
		{"cut certificate", "1|1|unix|/s/plugin1|grpc|" + cert[:64], "has a certificate that is none: x509: malformed certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := checkHello(test.line, "/s"); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("checkHello: %s\nwant: %s", got, test.want)
			}
		})
	}
}

// TestHello reads as the library does, in pieces of any size.
func TestHello(t *testing.T) {
	line := "1|1|unix|/s/plugin1|grpc|" + certificate(t)
	tests := []struct {
		name, output string
		want, log    string
		fault        string
	}{
		{"line", line + "\n", line, "", ""},
		{"more", line + "\r\nmore\nand more", line, "more\nand more", ""},
		{"nothing", "", "", "", errSilent.Error()},
		{"empty line", "\n" + line + "\n", "", "", `is no plugin: it printed ""`},
		{"no end", line, "", "", "ended in the middle of its first line"},
		{"words without an end", "hello", "", "", `is no plugin: it printed "hello"`},
		{"too long", strings.Repeat("1|", maxHello) + "\n", "", "", "is no plugin: its first line is longer than 16384 bytes"},
	}
	for _, test := range tests {
		for name, reader := range map[string]io.Reader{
			"at once": strings.NewReader(test.output),
			"slowly":  iotest.OneByteReader(strings.NewReader(test.output)),
			"broken":  io.MultiReader(strings.NewReader(test.output), iotest.ErrReader(errors.New("broken"))),
		} {
			t.Run(test.name+" "+name, func(t *testing.T) {
				var log strings.Builder
				exited := make(chan struct{})
				close(exited)
				h := &hello{from: io.NopCloser(reader), log: &log, sockets: "/s", exited: exited}
				got := ""
				for scanner := bufio.NewScanner(h); scanner.Scan(); {
					got += scanner.Text()
				}
				fault := ""
				if err := h.fault(); err != nil {
					fault = err.Error()
				}
				if got != test.want || fault != test.fault {
					t.Errorf("read %q, fault %q\nwant %q, %q", got, fault, test.want, test.fault)
				}
				if test.fault == "" && log.String() != test.log {
					t.Errorf("logged %q, want %q", log.String(), test.log)
				}
			})
		}
	}
}

// FuzzHello: whatever a program prints, the library is given a line that was
// checked or none.
func FuzzHello(f *testing.F) {
	cert := certificate(f)
	f.Add([]byte("1|1|unix|/s/plugin1|grpc|" + cert + "\n"))
	f.Add([]byte("1|1|tcp|127.0.0.1:1|grpc|" + cert + "|true\r\nmore"))
	f.Add([]byte("1|1|unix|/s/../x|grpc|" + cert + "\n"))
	f.Add([]byte("\x00|\n|"))
	f.Fuzz(func(t *testing.T, output []byte) {
		exited := make(chan struct{})
		close(exited)
		h := &hello{from: io.NopCloser(strings.NewReader(string(output))), log: io.Discard, sockets: "/s", exited: exited}
		got, err := io.ReadAll(h)
		if err != nil {
			t.Fatal(err)
		}
		switch fault := h.fault(); {
		case fault != nil && len(got) > 0:
			t.Errorf("handed on %q in spite of %v", got, fault)
		case fault != nil:
		case strings.Count(string(got), "\n") != 1 || len(got) > maxHello+1:
			t.Errorf("handed on %q, which is not one line", got)
		case checkHello(string(got), "/s") != nil:
			t.Errorf("handed on %q, which is not right", got)
		}
	})
}
