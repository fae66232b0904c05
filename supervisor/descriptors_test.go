package supervisor

import (
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

func TestScarceDescriptorsAreToldOfAtTheStart(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for needed, lines := range map[uint64]int{limit.Cur: 0, limit.Cur + 1: 1} {
		var log logBook
		warnOfDescriptors(zerolog.New(&log), needed)
		if n := log.count("descriptors_scarce"); n != lines {
			t.Errorf("%d needed, %d allowed: %d lines, want %d: %s", needed, limit.Cur, n, lines, &log)
		}
		if lines == 1 && (!strings.Contains(log.String(), `"limit":`) || !strings.Contains(log.String(), `"needed":`)) {
			t.Errorf("the line lacks a number: %s", &log)
		}
	}
}
