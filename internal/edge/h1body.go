package edge

import (
	"errors"
	"io"
	"os"
	"sync"
)

// h1body is the content of a request over HTTP/1: of a declared length, or in
// chunks.
type h1body struct {
	x      *h1exchange
	left   int64 // of the declared length
	chunks *chunked

	reader sync.Mutex // held by a Read
	reading
}

func (b *h1body) Read(p []byte) (int, error) {
	b.reader.Lock()
	defer b.reader.Unlock()
	if done := b.begin(); done != nil {
		return 0, done
	}
	err := b.x.invite()
	n := 0
	if err == nil {
		n, err = b.read(p)
	}
	done := b.end(b.sort(err))
	switch done {
	case io.EOF:
		b.x.listen()
	case ErrGone:
		b.x.End(ErrGone)
	}
	return n, done
}

func (b *h1body) read(p []byte) (int, error) {
	if b.chunks != nil {
		return b.chunks.Read(p)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.x.c.in.Read(p)
	b.left -= int64(n)
	switch {
	case b.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Whole reports that all that is left to be read has come, so that no Read would
// wait. Only who reads may ask.
func (b *h1body) Whole() bool {
	return b.chunks == nil && int64(len(b.x.c.in.bytes())) >= b.left
}

// sort maps what reading fails with.
func (b *h1body) sort(err error) error {
	switch {
	case err == nil, err == io.EOF, err == ErrMalformed:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	}
	return ErrGone
}

func (b *h1body) Close() error {
	b.close(b.x.c)
	return nil
}

// leave ends reading for good, and waits until nobody reads.
func (b *h1body) leave() {
	_ = b.Close()
	b.reader.Lock()
	defer b.reader.Unlock()
}
