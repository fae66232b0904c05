package upstream

import "sync"

// buffer is borrowed from a pool and given back when nobody looks at it any
// more.
type buffer struct {
	b    []byte // all of it while it is in the pool
	home *buffers
}

func (b *buffer) free() {
	b.b = b.b[:cap(b.b)]
	b.home.pool.Put(b)
}

type buffers struct{ pool sync.Pool }

func newBuffers(size int) *buffers {
	p := &buffers{}
	p.pool.New = func() any { return &buffer{make([]byte, size), p} }
	return p
}

func (p *buffers) get() *buffer { return p.pool.Get().(*buffer) }

// forContent borrows a buffer for content of that length, -1 when it is unknown.
// Many short ones may wait for room at once.
func forContent(length int64) *buffer {
	if 0 <= length && length <= shortContent {
		return headBuffers.get()
	}
	return bodyBuffers.get()
}

var (
	headBuffers  = newBuffers(shortContent)
	bodyBuffers  = newBuffers(32 << 10)
	chunkBuffers = newBuffers(defaultFrame)
	eventBuffers = newBuffers(eventSize)
)

// shortContent is what a head and a question without a history need at most.
const shortContent = 4 << 10

// eventSize is about what an event of a stream needs at most.
const eventSize = 1 << 10

// inbox holds what has come and was not read. Its memory is about what it
// holds: events lie close together, and what is empty is given back.
type inbox struct {
	chunks []*buffer
	off    int // of the first chunk, read already
	size   int
}

// newChunk borrows an empty buffer for n bytes and more.
func newChunk(n int) *buffer {
	from := chunkBuffers
	if n <= eventSize {
		from = eventBuffers
	}
	c := from.get()
	c.b = c.b[:0]
	return c
}

func (b *inbox) put(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		last := len(b.chunks) - 1
		if last < 0 || len(b.chunks[last].b) == cap(b.chunks[last].b) {
			b.chunks = append(b.chunks, newChunk(len(p)))
			last++
		}
		c := b.chunks[last]
		n := min(len(p), cap(c.b)-len(c.b))
		c.b = append(c.b, p[:n]...)
		p = p[n:]
	}
}

func (b *inbox) take(p []byte) (n int) {
	done := 0
	for n < len(p) && done < len(b.chunks) {
		c := b.chunks[done]
		k := copy(p[n:], c.b[b.off:])
		n += k
		if b.off += k; b.off < len(c.b) {
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
