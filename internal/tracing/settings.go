// Package tracing sends one span for each exchange to an OpenTelemetry
// collector, made of the finished record. It stands at the wall of the data
// plane: it follows, and nothing waits for it.
//
// It speaks OTLP/HTTP with JSON bodies (OTLP 1.x, "JSON Protobuf Encoding"),
// which is a POST of a document: the SDK would do no more for one span an
// exchange, and would take the binary from 14 to 21 MB. Nothing is started or
// sent unless the standard variables name an endpoint. A trace context that a
// client sends becomes the span's parent (W3C Trace Context); none of ours goes
// upstream.
package tracing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Settings are what the environment wants, by the names of the OpenTelemetry
// specification ("SDK environment variables", "OTLP exporter").
type Settings struct {
	Endpoint *url.URL
	// Headers go with every request to the collector. Their values may be
	// confidential.
	Headers map[string]string
	Timeout time.Duration
	// Resource says who we are: service.name, and what
	// OTEL_RESOURCE_ATTRIBUTES says.
	Resource map[string]string
	// Share of the traces that begin here which are sampled, 0 to 1; Parent says
	// that a context from outside decides for its own.
	Share  float64
	Parent bool
}

// FromEnvironment reads the variables. It returns nil when they want no traces,
// which is so unless an endpoint is named. The error names the variable and
// never its value.
func FromEnvironment(getenv func(string) string, service string) (*Settings, error) {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	switch exporter := get("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, errors.New("OTEL_TRACES_EXPORTER: write otlp or none")
	}
	endpoint, err := readEndpoint(get)
	if endpoint == nil || err != nil {
		return nil, err
	}
	if p := first(get, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); p != "" && p != "http/json" {
		return nil, errors.New("OTEL_EXPORTER_OTLP_PROTOCOL: only http/json is spoken; collectors take it on the port of http/protobuf (4318)")
	}
	s := &Settings{Endpoint: endpoint, Timeout: 10 * time.Second}
	if s.Headers, err = readPairs(first(get, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")); err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: %w", err)
	}
	if s.Resource, err = readPairs(get("OTEL_RESOURCE_ATTRIBUTES")); err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if name := get("OTEL_SERVICE_NAME"); name != "" {
		s.Resource["service.name"] = name
	} else if s.Resource["service.name"] == "" {
		s.Resource["service.name"] = service
	}
	if text := first(get, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			return nil, errors.New("OTEL_EXPORTER_OTLP_TIMEOUT: write milliseconds, such as 10000")
		}
		s.Timeout = time.Duration(ms) * time.Millisecond
	}
	return s, s.sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))
}

func first(get func(string) string, names ...string) string {
	for _, name := range names {
		if v := get(name); v != "" {
			return v
		}
	}
	return ""
}

// readEndpoint finds where spans go: the one for traces as it stands, else the
// one for everything with the path of traces behind it.
func readEndpoint(get func(string) string) (*url.URL, error) {
	name, path := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""
	if get(name) == "" {
		name, path = "OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"
	}
	text := get(name)
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, fmt.Errorf("%s: write a URL such as http://127.0.0.1:4318, credentials in OTEL_EXPORTER_OTLP_HEADERS", name)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	return u, nil
}

// readPairs reads name=value,name=value with percent-encoded values (W3C
// Baggage).
func readPairs(text string) (map[string]string, error) {
	pairs := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || err != nil || strings.ContainsAny(name+value, "\r\n\x00") {
			return nil, errors.New("write name=value,name=value")
		}
		pairs[name] = value
	}
	return pairs, nil
}

func (s *Settings) sampler(name, arg string) error {
	s.Parent = name == "" || strings.HasPrefix(name, "parentbased_")
	switch strings.TrimPrefix(name, "parentbased_") {
	case "", "always_on":
		s.Share = 1
	case "always_off":
		s.Share = 0
	case "traceidratio":
		s.Share = 1
		if arg != "" {
			share, err := strconv.ParseFloat(arg, 64)
			if err != nil || !(share >= 0 && share <= 1) {
				return errors.New("OTEL_TRACES_SAMPLER_ARG: write a share from 0 to 1")
			}
			s.Share = share
		}
	default:
		return errors.New("OTEL_TRACES_SAMPLER: write always_on, always_off, traceidratio, or one of them behind parentbased_")
	}
	return nil
}

// samples decides for a trace by its id, as every SDK does: the last eight
// bytes below the share.
func (s *Settings) samples(trace [16]byte) bool {
	return s.Share >= 1 || float64(binary.BigEndian.Uint64(trace[8:])>>1) < s.Share*math.MaxInt64
}
