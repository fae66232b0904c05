package upstream

import "sync"

// buffer is borrowed from a pool and given back when nobody looks at it any
// more.
type buffer struct{ b []byte }

type buffers struct{ pool sync.Pool }

func newBuffers(size int) *buffers {
	return &buffers{sync.Pool{New: func() any { return &buffer{make([]byte, size)} }}}
}

func (p *buffers) get() *buffer  { return p.pool.Get().(*buffer) }
func (p *buffers) put(b *buffer) { p.pool.Put(b) }

var (
	headBuffers  = newBuffers(4 << 10)
	bodyBuffers  = newBuffers(32 << 10)
	chunkBuffers = newBuffers(defaultFrame)
	eventBuffers = newBuffers(eventSize)
)

// eventSize is about what an event of a stream needs at most.
const eventSize = 1 << 10

// inbox holds what has come and was not read. Its memory is about what it
// holds: events lie close together, and what is empty is given back.
type inbox struct {
	chunks []chunk
	off    int // of the first chunk, read already
	size   int
}

type chunk struct {
	data     []byte
	borrowed *buffer
	from     *buffers
}

func newChunk(n int) chunk {
	from := chunkBuffers
	if n <= eventSize {
		from = eventBuffers
	}
	b := from.get()
	return chunk{data: b.b[:0], borrowed: b, from: from}
}

func (c chunk) free() { c.from.put(c.borrowed) }

func (b *inbox) put(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		last := len(b.chunks) - 1
		if last < 0 || len(b.chunks[last].data) == cap(b.chunks[last].data) {
			b.chunks = append(b.chunks, newChunk(len(p)))
			last++
		}
		c := &b.chunks[last]
		n := min(len(p), cap(c.data)-len(c.data))
		c.data = append(c.data, p[:n]...)
		p = p[n:]
	}
}

func (b *inbox) take(p []byte) (n int) {
	done := 0
	for n < len(p) && done < len(b.chunks) {
		c := &b.chunks[done]
		k := copy(p[n:], c.data[b.off:])
		n += k
		if b.off += k; b.off < len(c.data) {
			break
		}
		b.off = 0
		done++
	}
	b.size -= n
	b.drop(done)
	return n
}

// drop frees the first n chunks.
func (b *inbox) drop(n int) {
	if n == 0 {
		return
	}
	for _, c := range b.chunks[:n] {
		c.free()
	}
	left := copy(b.chunks, b.chunks[n:])
	clear(b.chunks[left:])
	b.chunks = b.chunks[:left]
	if left == 0 && cap(b.chunks) > 1 {
		b.chunks = nil
	}
}

// clear frees everything and returns how much was not read.
func (b *inbox) clear() int {
	n := b.size
	for _, c := range b.chunks {
		c.free()
	}
	*b = inbox{}
	return n
}
