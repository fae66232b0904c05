//go:build unix && !linux

package proxy

// hangUpEvents: these systems tell only when both sides are shut.
const hangUpEvents = 0
