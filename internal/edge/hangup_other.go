//go:build unix && !linux

package edge

// hangUpEvents: these systems tell only when both sides are shut.
const hangUpEvents = 0
