package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A pki is the cluster's own certificate authority, and what it has issued, as
// files. Nothing outside the cluster's folder trusts it.
type pki struct {
	dir string

	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	serial      int64
}

// Longer than any run of a suite, and short enough not to be of use later.
const certificateLife = 7 * 24 * time.Hour

// newPKI makes an authority and the files ca.crt, admin.{crt,key},
// server.{crt,key} and service-accounts.key in dir.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &pki{dir: dir}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := p.template("propagator e2e")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if p.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	p.key = key
	if err := p.write("ca.crt", "CERTIFICATE", der); err != nil {
		return nil, err
	}

	admin := p.template("admin")
	admin.Subject.Organization = []string{"system:masters"}
	admin.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if err := p.issue("admin", admin); err != nil {
		return nil, err
	}
	server := p.template("kubernetes")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(apiServiceIP)}
	if err := p.issue("server", server); err != nil {
		return nil, err
	}
	return p, p.newKey("service-accounts", nil)
}

func (p *pki) template(name string) *x509.Certificate {
	p.serial++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(p.serial),
		Subject:      pkix.Name{CommonName: name},
		// Clocks of containers beside us may be a little behind.
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(certificateLife),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
}

// issue makes a key and a certificate for it.
func (p *pki) issue(name string, template *x509.Certificate) error {
	return p.newKey(name, func(key *ecdsa.PrivateKey) error {
		der, err := x509.CreateCertificate(rand.Reader, template, p.certificate, key.Public(), p.key)
		if err != nil {
			return err
		}
		return p.write(name+".crt", "CERTIFICATE", der)
	})
}

// newKey writes a new key and hands it to use, which may be nil.
func (p *pki) newKey(name string, use func(*ecdsa.PrivateKey) error) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := p.write(name+".key", "EC PRIVATE KEY", der); err != nil {
		return err
	}
	if use == nil {
		return nil
	}
	return use(key)
}

func (p *pki) write(name, kind string, der []byte) error {
	return os.WriteFile(p.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }
