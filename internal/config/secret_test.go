package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/rs/zerolog"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	s := NewSecret(secret)
	cfg := Config{
		Tailscale: Tailscale{AuthKey: s},
		Proxy:     Proxy{EgressProxy: &EgressProxy{URL: &url.URL{Scheme: "http", Host: "a:1"}, Authorization: s}},
	}
	hidden := struct{ inner Config }{cfg}
	hex := fmt.Sprintf("%x", secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s"} {
		if got := fmt.Sprintf(verb, s); got != redacted {
			t.Errorf("%s prints %q", verb, got)
		}
		for _, v := range []any{&s, cfg.Proxy.EgressProxy, *cfg.Proxy.EgressProxy, cfg.Proxy, []Secret{s}, map[string]Secret{"k": s}, cfg, &cfg, hidden} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, secret) || strings.Contains(strings.ToLower(got), hex) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, got)
			}
		}
	}
	for name, print := range map[string]func(*bytes.Buffer) error{
		"JSON":              func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(s) },
		"JSON key":          func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(map[Secret]int{s: 1}) },
		"TOML":              func(b *bytes.Buffer) error { return toml.NewEncoder(b).Encode(map[string]Secret{"k": s}) },
		"zerolog Interface": func(b *bytes.Buffer) error { l := zerolog.New(b); l.Info().Interface("k", s).Send(); return nil },
		"zerolog Stringer":  func(b *bytes.Buffer) error { l := zerolog.New(b); l.Info().Stringer("k", s).Send(); return nil },
		"zerolog Any":       func(b *bytes.Buffer) error { l := zerolog.New(b); l.Info().Any("k", cfg.Tailscale).Send(); return nil },
		"slog":              func(b *bytes.Buffer) error { slog.New(slog.NewTextHandler(b, nil)).Info("m", "k", s); return nil },
		"Println":           func(b *bytes.Buffer) error { _, err := fmt.Fprintln(b, s); return err },
	} {
		var b bytes.Buffer
		if err := print(&b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := b.String(); !strings.Contains(got, redacted) || strings.Contains(got, secret) {
			t.Errorf("%s prints %q", name, got)
		}
	}
}

func TestSecretReveals(t *testing.T) {
	if s := NewSecret(secret); s.Reveal() != secret || !s.IsSet() {
		t.Errorf("a secret reveals %q, set %v", s.Reveal(), s.IsSet())
	}
	for name, s := range map[string]Secret{"zero": {}, "empty": NewSecret("")} {
		if s.Reveal() != "" || s.IsSet() || s.String() != redacted {
			t.Errorf("%s: reveals %q, set %v, prints %q", name, s.Reveal(), s.IsSet(), s)
		}
	}
}
