package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxCABytes bounds a file of certificates; the world's public roots together
// have a quarter of a MiB.
const maxCABytes = 4 << 20

// readRoots returns the system's roots and those of a PEM file. Its errors show
// nothing of the file, for it may be another one than was meant.
func readRoots(path string) (*x509.CertPool, error) {
	data, err := readFile(path, maxCABytes)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("cannot be added to the system's roots: %w", err)
	}
	for _, cert := range certs {
		roots.AddCert(cert)
	}
	return roots, nil
}

// parseCertificates reads PEM that holds certificates and nothing else but
// comments.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	begun := bytes.Count(append([]byte("\n"), data...), []byte("\n-----BEGIN "))
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, errors.New("contains a private key")
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("contains PEM that is no certificate")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("contains a malformed certificate, number %d", len(certs)+1)
		}
		certs = append(certs, cert)
	}
	switch {
	case begun != len(certs): // pem.Decode steps over what is no PEM
		return nil, fmt.Errorf("contains malformed PEM beside %d certificates", len(certs))
	case len(certs) == 0:
		return nil, errors.New("contains no PEM certificate")
	}
	return certs, nil
}
