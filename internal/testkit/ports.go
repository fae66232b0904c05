package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are lent from below the range from which the kernel takes those of
// outgoing connections (net.ipv4.ip_local_port_range begins at 32768).
const (
	firstPort = 15000
	lastPort  = 32000
)

// lent keeps a UDP socket on each port that this process has been lent: other
// test processes that look for ports see it, a TCP listener does not mind.
var lent struct {
	sync.Mutex
	tokens []net.PacketConn
}

// FreePorts returns n different loopback ports that nobody listens on. No
// other caller is lent them while this process lives.
func FreePorts(n int) ([]int, error) {
	lent.Lock()
	defer lent.Unlock()
	var ports []int
	const room = lastPort - firstPort
	start := rand.IntN(room)
	for i := 0; len(ports) < n; i++ {
		if i == room {
			return nil, errors.New("find a free port: all are taken")
		}
		port := firstPort + (start+i)%room
		if token := lend(port); token != nil {
			lent.tokens = append(lent.tokens, token)
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// lend is nil for a port that is taken.
func lend(port int) net.PacketConn {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	token, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return nil
	}
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		token.Close()
		return nil
	}
	l.Close()
	return token
}
