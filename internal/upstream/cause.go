package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"syscall"
)

// Cause names why no connection could be made. The set is closed, so it may be
// a label.
type Cause string

// The causes of a failed dial. CauseDescriptors is our own fault: this process
// or host has run out of descriptors, ports or memory for sockets.
const (
	CauseName        Cause = "name"        // the host name was not resolved
	CauseRefused     Cause = "refused"     // nobody listens there
	CauseUnreachable Cause = "unreachable" // no way leads there
	CauseTimeout     Cause = "timeout"     // nobody answered in time
	CauseReset       Cause = "reset"       // it broke before it was ready
	CauseTLS         Cause = "tls"         // the handshake failed
	CauseCertificate Cause = "certificate" // the API's certificate is not to be trusted
	CauseEgress      Cause = "egress"      // the egress proxy did not let us through
	CauseDescriptors Cause = "descriptors"
	CauseClosed      Cause = "closed" // we are shutting down
	CauseOther       Cause = "other"
)

// Causes lists every cause that can be met.
func Causes() []Cause {
	return []Cause{CauseName, CauseRefused, CauseUnreachable, CauseTimeout, CauseReset, CauseTLS,
		CauseCertificate, CauseEgress, CauseDescriptors, CauseClosed, CauseOther}
}

// errnos sorts what the kernel says.
var errnos = map[syscall.Errno]Cause{
	syscall.ECONNREFUSED: CauseRefused,
	syscall.EHOSTUNREACH: CauseUnreachable, syscall.ENETUNREACH: CauseUnreachable, syscall.EHOSTDOWN: CauseUnreachable,
	syscall.ENETDOWN: CauseUnreachable, syscall.EACCES: CauseUnreachable, syscall.EPERM: CauseUnreachable,
	syscall.ETIMEDOUT:  CauseTimeout,
	syscall.ECONNRESET: CauseReset, syscall.EPIPE: CauseReset, syscall.ECONNABORTED: CauseReset,
	syscall.EMFILE: CauseDescriptors, syscall.ENFILE: CauseDescriptors, syscall.ENOBUFS: CauseDescriptors,
	syscall.ENOMEM: CauseDescriptors, syscall.EADDRNOTAVAIL: CauseDescriptors,
}

// causeOf sorts the error of a dial or of the handshake after it.
func causeOf(err error) Cause {
	var (
		errno     syscall.Errno
		name      *net.DNSError
		refused   *tls.CertificateVerificationError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		egress    *egressError
		timeout   interface{ Timeout() bool }
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	if errors.As(err, &errno) {
		if c, ok := errnos[errno]; ok {
			return c
		}
	}
	switch {
	case errors.Is(err, ErrClosed):
		return CauseClosed
	case errors.As(err, &egress):
		return CauseEgress
	case errors.As(err, &refused), errors.As(err, &hostname), errors.As(err, &authority), errors.As(err, &invalid):
		return CauseCertificate
	case errors.As(err, &alert), errors.As(err, &record):
		return CauseTLS
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return CauseTimeout
	case errors.As(err, &name):
		return CauseName
	case isEOF(err):
		return CauseReset
	}
	return CauseOther
}

// telling ranks causes: of several addresses the one that came furthest says
// most about what is wrong.
func telling(c Cause) int {
	switch c {
	case CauseDescriptors:
		return 5
	case CauseCertificate:
		return 4
	case CauseTLS, CauseEgress:
		return 3
	case CauseReset:
		return 2
	case CauseTimeout:
		return 0
	}
	return 1
}
