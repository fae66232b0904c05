package config

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"anthropic-oauth-proxy/internal/headers"
)

// WriteTo writes the effective configuration as TOML that Load accepts, without
// anything confidential: of header values only those of anthropic-beta are
// shown, of the auth key and the egress proxy's credentials only that they are
// there.
func (c Config) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# source: %s\n# LOG_LEVEL: %s\n", printable(c.Source), c.LogLevel)
	if c.Tailscale.AuthKey.IsSet() {
		fmt.Fprintf(&b, "# auth key: %s\n", c.Tailscale.AuthKey)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(&b, "# warning: %s\n", warning)
	}
	if len(c.inForce.Headers) == 0 {
		b.WriteString("\nheaders = []\n")
	}
	document := reflect.ValueOf(c.inForce)
	for field, value := range document.Fields() {
		name := field.Tag.Get("toml")
		switch value.Kind() {
		case reflect.Struct:
			writeTable(&b, "["+name+"]", value)
		case reflect.Slice:
			for i := range value.Len() {
				writeTable(&b, "[["+name+"]]", value.Index(i))
			}
		}
	}
	return b.WriteTo(w)
}

// writeTable writes a table of the document but for the path of a key file,
// which may be the key itself, in the wrong place.
func writeTable(b *bytes.Buffer, head string, table reflect.Value) {
	fmt.Fprintf(b, "\n%s\n", head)
	for field, value := range table.Fields() {
		if name := field.Tag.Get("toml"); name != authKeyFile {
			fmt.Fprintf(b, "%s = %s\n", name, literal(value))
		}
	}
}

// literal writes a value as TOML. Go's strings are TOML's for text without
// control characters, and validation lets no other through.
func literal(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	default:
		return fmt.Sprint(v.Interface())
	}
}

// inForce is the document as it holds, with what the environment overrides and
// without anything confidential. c is valid.
func inForce(doc document, c Config) document {
	doc.Tailscale.Hostname, doc.Tailscale.Socket = c.Tailscale.Hostname, c.Tailscale.Socket
	doc.Tailscale.AuthKeyFile = ""
	doc.Proxy.UpstreamURL, doc.Proxy.EgressProxy = c.Proxy.Upstream.String(), c.Proxy.EgressProxy.String()
	doc.Headers = make([]headerRule, len(c.Headers))
	for i, rule := range c.Headers {
		doc.Headers[i] = headerRule{Name: strings.ToLower(rule.Name()), Value: redacted, Mode: string(rule.Mode())}
		if rule.Name() == headers.BetaName {
			doc.Headers[i].Value = rule.Value()
		}
	}
	return doc
}
