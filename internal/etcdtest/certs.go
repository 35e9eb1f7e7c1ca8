package etcdtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// jwtTokens are etcd's flags for JSON web tokens that are signed with a new key.
func jwtTokens(tb testing.TB, life time.Duration) []string {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	return []string{fmt.Sprintf("--auth-token=jwt,pub-key=%s,priv-key=%s,sign-method=RS256,ttl=%s",
		writePEM(tb, dir, "public.pem", "PUBLIC KEY", public),
		writePEM(tb, dir, "private.pem", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
		life)}
}

// mutualTLS returns etcd's flags for clients that need a certificate, and such a client's configuration.
func mutualTLS(tb testing.TB) (flags []string, client *tls.Config) {
	tb.Helper()
	dir := tb.TempDir()
	ca := newAuthority(tb)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	server, clientCert := ca.issue(tb, dir, "server"), ca.issue(tb, dir, "client")
	pair, err := tls.LoadX509KeyPair(clientCert.certFile, clientCert.keyFile)
	if err != nil {
		tb.Fatal(err)
	}
	flags = []string{
		"--client-cert-auth=true",
		"--trusted-ca-file=" + writePEM(tb, dir, "ca.pem", "CERTIFICATE", ca.cert.Raw),
		"--cert-file=" + server.certFile,
		"--key-file=" + server.keyFile,
	}
	return flags, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

type certFiles struct{ certFile, keyFile string }

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"elock tests"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return authority{cert: cert, key: key}
}

// issue writes a certificate for loopback and its key. Each is a client's and a server's: etcd's JSON gateway connects to
// etcd with the server's. It has no common name, which etcd would take for a user's with auth.
func (a authority) issue(tb testing.TB, dir, name string) certFiles {
	tb.Helper()
	key := newKey(tb)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return certFiles{
		certFile: writePEM(tb, dir, name+".pem", "CERTIFICATE", der),
		keyFile:  writePEM(tb, dir, name+"-key.pem", "EC PRIVATE KEY", private),
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func writePEM(tb testing.TB, dir, name, kind string, der []byte) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
