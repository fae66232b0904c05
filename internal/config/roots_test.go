package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// authority is a CA of nobody's, as PEM and parsed.
func authority(t *testing.T) (text string, cert *x509.Certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), cert, encode("PRIVATE KEY", pkcs8)
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestRootsStandBesideTheSystems(t *testing.T) {
	one, first, _ := authority(t)
	other, second, _ := authority(t)
	system, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plain":                    one + other,
		"comments":                 "# ours\n" + one + "\nissuer: nobody\n" + other + "\n",
		"byte order mark and CRLF": "\xef\xbb\xbf" + strings.ReplaceAll(one+other, "\n", "\r\n"),
	} {
		path := write(t, text)
		cfg := load(t, "[proxy]\nupstream_ca_file = '"+path+"'")
		want := system.Clone()
		want.AddCert(first)
		want.AddCert(second)
		if !cfg.Proxy.UpstreamRoots.Equal(want) || cfg.Proxy.UpstreamCAFile != path {
			t.Errorf("%s: the roots are not the system's and both of the file", name)
		}
		if _, err := first.Verify(x509.VerifyOptions{Roots: cfg.Proxy.UpstreamRoots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCAFileIsChecked(t *testing.T) {
	cert, _, key := authority(t)
	for name, tc := range map[string]struct{ text, says string }{
		"key":                 {cert + key, "contains a private key"},
		"key of another name": {encode("EC PRIVATE KEY", []byte("x")), "contains a private key"},
		"request":             {encode("CERTIFICATE REQUEST", []byte("x")), "no certificate"},
		"malformed":           {cert + encode("CERTIFICATE", []byte("hunter2")), "malformed certificate, number 2"},
		"cut off":             {cert + cert[:len(cert)/2], "malformed PEM beside 1 certificates"},
		"cut off first":       {cert[:len(cert)/2] + "\n" + cert, "malformed PEM beside 1 certificates"},
		"something else":      {"hunter2", "contains no PEM certificate"},
	} {
		_, err := Load(Sources{Path: write(t, "[proxy]\nupstream_ca_file = '"+write(t, tc.text)+"'"), Getenv: environ()})
		if err == nil || !strings.Contains(err.Error(), ":2:1: proxy.upstream_ca_file: ") || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v, want %q", name, err, tc.says)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the content is shown: %v", name, err)
		}
	}
}
