package edge

import (
	"net"
	"strings"
	"testing"
)

// What helps depends on what is wrong: an address that this machine does not
// have is not held by another program.
func TestBindRemedy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct{ name, addr, says string }{
		{"in use", taken.Addr().String(), "another program holds it"},
		{"not ours", "192.0.2.1:0", "this machine has no such address"},
		{"no address", "127.0.0.1:x", "an address that this machine can open"},
	} {
		_, err := net.Listen("tcp", tc.addr)
		if err == nil {
			t.Fatalf("%s: opened", tc.name)
		}
		if got := BindRemedy(err, "proxy.admin_addr"); !strings.Contains(got, tc.says) || !strings.Contains(got, "proxy.admin_addr") {
			t.Errorf("%s: %v: got %q, want %q", tc.name, err, got, tc.says)
		}
	}
}
