package edge

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
)

// What makes accepts fail is counted each time and told once a minute.
func TestAcceptErrorsAreCountedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := NewMetrics(prometheus.NewRegistry())
		a := newAcceptErrors("proxy", zerolog.New(&log), m)
		fail := func(e syscall.Errno) error {
			return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", e)}
		}
		for range 5 {
			if !a.count(fail(syscall.EMFILE)) {
				t.Fatal("a lack of descriptors ends the socket")
			}
		}
		_ = a.count(fail(syscall.ECONNABORTED))
		if n := strings.Count(log.String(), "accept_failed"); n != 2 {
			t.Errorf("%d lines for two kinds: %s", n, log.String())
		}
		log.Reset()
		time.Sleep(tellEvery)
		_ = a.count(fail(syscall.EMFILE))
		if !strings.Contains(log.String(), `"port":"proxy","errno":"EMFILE","count":5`) {
			t.Errorf("a minute later: %s", log.String())
		}
		var counted dto.Metric
		if err := m.accept.WithLabelValues("EMFILE").Write(&counted); err != nil || counted.GetCounter().GetValue() != 6 {
			t.Errorf("the metric says %v, %v; want 6", counted.GetCounter().GetValue(), err)
		}
		for _, fatal := range []error{fail(syscall.EBADF), net.ErrClosed, errors.New("other")} {
			if a.count(fatal) {
				t.Errorf("%v: the socket is said to be well", fatal)
			}
		}
	})
}
