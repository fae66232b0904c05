package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
)

// builtIn is the Source of a Config that no file shaped.
const builtIn = "built-in defaults"

// maxFileBytes bounds what is read: a wrong path may name a device or a log.
const maxFileBytes = 64 << 10

// authKeyFile is the one key whose value nobody may see.
const authKeyFile = "auth_key_file"

// document is the file as it is written; [keys] says what the keys mean. Seconds may have fractions.
type document struct {
	Tailscale struct {
		Mode               string  `toml:"mode"`
		Hostname           string  `toml:"hostname"`
		Socket             string  `toml:"socket"`
		PollIntervalSecs   float64 `toml:"poll_interval_secs"`
		ConnectTimeoutSecs float64 `toml:"connect_timeout_secs"`
		StateDir           string  `toml:"state_dir"`
		AuthKeyFile        string  `toml:"auth_key_file"`
		ReachabilityPeer   string  `toml:"reachability_peer"`
		IdentifyCallers    bool    `toml:"identify_callers"`
	} `toml:"tailscale"`
	Proxy struct {
		ListenAddr       string  `toml:"listen_addr"`
		AdminAddr        string  `toml:"admin_addr"`
		UpstreamURL      string  `toml:"upstream_url"`
		UpstreamCAFile   string  `toml:"upstream_ca_file"`
		EgressProxy      string  `toml:"egress_proxy"`
		TimeoutSecs      float64 `toml:"timeout_secs"`
		IdleTimeoutSecs  float64 `toml:"idle_timeout_secs"`
		MaxConnections   int64   `toml:"max_connections"`
		QueueTimeoutSecs float64 `toml:"queue_timeout_secs"`
		MaxBodyMiB       int64   `toml:"max_body_mib"`
		DrainTimeoutSecs float64 `toml:"drain_timeout_secs"`
		AdminPprof       bool    `toml:"admin_pprof"`
	} `toml:"proxy"`
	Headers []headerRule `toml:"headers"`
}

type headerRule struct {
	Name  string `toml:"name"`
	Value string `toml:"value"`
	Mode  string `toml:"mode"`
}

// defaults is a file that says nothing, spelled out: what the keys declare.
var defaults = sync.OnceValue(func() document {
	var d document
	if err := toml.Unmarshal([]byte(example()), &d); err != nil {
		panic(fmt.Sprintf("config: the declared defaults are no document: %v", err))
	}
	return d
})

// byteOrderMark begins what some editors write. In UTF-8 it says nothing.
var byteOrderMark = []byte("\xef\xbb\xbf")

// readFile returns the content of a small file, without the mark that an editor
// may have put before it. Its errors are the bare cause:
// the path may be a secret that somebody wrote in its place.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, bare(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("larger than %d KiB", limit>>10)
	}
	return bytes.TrimPrefix(data, byteOrderMark), nil
}

func bare(err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// decode parses data over the defaults and says where each key stands.
func decode(path string, data []byte) (document, positions, error) {
	keys, err := index(path, data)
	if err != nil {
		return document{}, nil, err
	}
	doc := defaults()
	doc.Headers = nil
	// The index has refused unknown keys; strictness here catches what it would
	// take for a known one, such as the quoted key "proxy.timeout_secs".
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := decoder.Decode(&doc); err != nil {
		return document{}, nil, decodeErrors(path, err)
	}
	if _, given := keys["headers"]; !given {
		doc.Headers = defaults().Headers
	}
	return doc, keys, nil
}

// decodeErrors translates what the decoder says after the index was content:
// duplicates, numbers that do not fit, keys in disguise.
func decodeErrors(path string, err error) error {
	if missing := (*toml.StrictMissingError)(nil); errors.As(err, &missing) {
		var all []error
		for i := range missing.Errors {
			all = append(all, decodeError(path, &missing.Errors[i]))
		}
		return joined(all...)
	}
	if one := (*toml.DecodeError)(nil); errors.As(err, &one) {
		return decodeError(path, one)
	}
	return &Error{File: path, Problem: "cannot be decoded", cause: err}
}

func decodeError(path string, err *toml.DecodeError) *Error {
	line, column := err.Position()
	// What strconv adds repeats the value.
	problem, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "toml: "), ": strconv.")
	return &Error{
		File: path, Line: line, Column: column, Key: strings.Join(err.Key(), "."),
		Problem: problem, Remedy: "see the example file",
	}
}
