package upstream

import "golang.org/x/net/http2"

// handle takes one frame. The caller holds mu.
func (c *h2Conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		if s := c.streams[f.StreamID]; s != nil {
			return s.headers(f)
		}
		return c.idle(f.StreamID)
	case *http2.DataFrame:
		return c.data(f)
	case *http2.RSTStreamFrame:
		if s := c.streams[f.StreamID]; s != nil {
			s.wasReset(f.ErrCode)
		}
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = c.framer.WritePing(true, f.Data)
			c.signal()
		}
	case *http2.GoAwayFrame:
		c.goAway(f.LastStreamID)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
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
	s := c.streams[f.StreamID]
	if s == nil {
		c.giveBack(size)
		return c.idle(f.StreamID)
	}
	c.giveBack(size - len(f.Data()))
	return s.receive(f, size)
}

// giveBack returns n bytes to the connection's window, now and then. The
// caller holds mu.
func (c *h2Conn) giveBack(n int) {
	c.unreturned += n
	if c.unreturned >= connWindow/8 {
		_ = c.framer.WriteWindowUpdate(0, uint32(c.unreturned))
		c.unreturned = 0
		c.signal()
	}
}

func (c *h2Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingMaxConcurrentStreams:
			c.maxStreams = s.Val
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSize(min(s.Val, 4096))
		case http2.SettingInitialWindowSize:
			delta := int64(s.Val) - c.initialWindow
			c.initialWindow = int64(s.Val)
			for _, stream := range c.streams {
				stream.sendWindow += delta
			}
			c.room.Broadcast()
		}
		return nil
	})
	if err != nil {
		return err
	}
	_ = c.framer.WriteSettingsAck()
	c.signal()
	return nil
}

func (c *h2Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	const most = 1<<31 - 1
	if f.StreamID == 0 {
		c.sendWindow += int64(f.Increment)
		if c.sendWindow > most {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
	} else if s := c.streams[f.StreamID]; s != nil {
		s.sendWindow += int64(f.Increment)
		if s.sendWindow > most {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
		}
	}
	c.room.Broadcast()
	return nil
}

// goAway fails the streams that the API will not serve and lets the others
// finish.
func (c *h2Conn) goAway(last uint32) {
	c.leaving = true
	for id, s := range c.streams {
		if id > last {
			s.fail(&Error{Stage: Refused, Err: errGoAway})
			c.forget(s)
		}
	}
}
