package upstream

import (
	"time"

	"golang.org/x/net/http2"
)

// handle takes one frame. The caller holds mu.
func (c *h2Conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.HeadersFrame:
		c.head.begin(f)
		return c.fields(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return c.fields(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.DataFrame:
		return c.data(f)
	case *http2.RSTStreamFrame:
		if s := c.streams[f.StreamID]; s != nil {
			s.wasReset(f.ErrCode)
		}
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		c.pong(f)
	case *http2.GoAwayFrame:
		c.goAway(f.LastStreamID, codeOf(f.ErrCode))
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// fields takes a piece of a head or a trailer.
func (c *h2Conn) fields(fragment []byte, last bool) error {
	if err := c.head.add(fragment, last); err != nil || !last {
		return err
	}
	if s := c.streams[c.head.stream]; s != nil {
		return s.headers(c.head)
	}
	return c.idle(c.head.stream)
}

// idle refuses a message on a stream that we never opened; one that we have
// left already is let pass.
func (c *h2Conn) idle(id uint32) error {
	if id%2 == 0 || id >= c.nextID {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

func (c *h2Conn) data(f *http2.DataFrame) error {
	size := int(f.Header().Length) // padding counts too (RFC 9113 6.9.1)
	if !c.receive.receive(size) {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	c.receive.consume(size)
	if n := c.receive.announce(); n > 0 {
		_ = c.framer.WriteWindowUpdate(0, uint32(n))
		c.signal()
	}
	s := c.streams[f.StreamID]
	if s == nil {
		return c.idle(f.StreamID)
	}
	return s.data(f, size)
}

func (c *h2Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		if !c.pulse.greetedAt.IsZero() {
			c.pulse.measured(c.pulse.greetedAt)
			c.pulse.greetedAt = time.Time{}
		}
		c.settingsAcked()
		return nil
	}
	limit, said := uint32(mostStreams), false
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingMaxConcurrentStreams:
			limit, said = s.Val, true
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSize(min(s.Val, 4096))
		case http2.SettingInitialWindowSize:
			return c.initialWindowIs(int64(s.Val))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if said || !c.places.greeted {
		c.places.greet(limit)
		c.pool.stirred()
	}
	_ = c.framer.WriteSettingsAck()
	c.signal()
	return nil
}

func (c *h2Conn) initialWindowIs(n int64) error {
	delta := n - c.initialWindow
	c.initialWindow = n
	for _, s := range c.streams {
		if !s.send.add(delta) {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
	}
	c.room.Broadcast()
	return nil
}

func (c *h2Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if c.send.shutFor() > 0 {
			c.pool.freed()
		}
		if !c.send.add(int64(f.Increment)) {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
	} else if s := c.streams[f.StreamID]; s != nil && !s.send.add(int64(f.Increment)) {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	c.room.Broadcast()
	return nil
}

// goAway fails the streams that the API will not serve and lets the others
// finish (RFC 9113 6.8).
func (c *h2Conn) goAway(last uint32, code Code) {
	c.pool.metrics.goAways[code].Inc()
	c.said = code
	refused := 0
	open := len(c.streams)
	for id, s := range c.streams {
		if id > last {
			s.fail(&Error{Stage: Refused, Code: code, Err: errGoAway})
			refused++
		}
	}
	c.pool.log.Info().Str("event", "upstream_goaway").Str("code", string(code)).Int("streams", open).Int("refused", refused).
		Msg("the Claude API said goodbye on a connection")
	if c.err == nil {
		c.leave(errGoAway)
	}
}
