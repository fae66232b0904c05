package upstream

import "golang.org/x/net/http2"

// Code is an error code of HTTP/2 (RFC 9113 7): why the API ended a stream or
// said goodbye. The set is closed, so it may be a label.
type Code string

// NoCode is the code of what was not ended by a frame of the API.
const NoCode Code = ""

// unknownCode stands for every code that RFC 9113 does not name.
const unknownCode Code = "UNKNOWN"

var codes = func() map[http2.ErrCode]Code {
	named := make(map[http2.ErrCode]Code)
	for c := http2.ErrCodeNo; c <= http2.ErrCodeHTTP11Required; c++ {
		named[c] = Code(c.String())
	}
	return named
}()

func codeOf(c http2.ErrCode) Code {
	if named, ok := codes[c]; ok {
		return named
	}
	return unknownCode
}

// Codes lists every code that can be met.
func Codes() []Code {
	all := []Code{unknownCode}
	for _, c := range codes {
		all = append(all, c)
	}
	return all
}
