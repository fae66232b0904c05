package clients

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

func (p *pair) goSDK(plan sim.Plan) anthropic.Client {
	return anthropic.NewClient(
		option.WithBaseURL(p.proxy.URL()),
		option.WithHTTPClient(p.client),
		option.WithAuthToken("sk-ant-oat01-test"),
		option.WithMaxRetries(0),
		option.WithHeader(sim.PlanHeader, plan.Encode()),
	)
}

func question(text string) []anthropic.MessageParam {
	return []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(text))}
}

func TestGoSDK(t *testing.T) {
	for _, protocol := range []sim.Protocol{sim.Plain, sim.TLS1, sim.TLS2} {
		t.Run(string(protocol), func(t *testing.T) {
			p := start(t, sim.Options{Protocol: protocol}, harness.Options{})
			t.Run("streams", func(t *testing.T) { goSDKStreams(t, p) })
			t.Run("counts tokens", func(t *testing.T) { goSDKCounts(t, p) })
			t.Run("reads errors", func(t *testing.T) { goSDKErrors(t, p) })
			t.Run("lists models", func(t *testing.T) { goSDKModels(t, p) })
		})
	}
}

func goSDKStreams(t *testing.T, p *pair) {
	const deltas = 50
	client := p.goSDK(sim.Plan{Name: "go", Deltas: deltas})
	// Three turns, as a conversation has them: over one kept connection.
	history := question("hello")
	for turn := range 3 {
		stream := client.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{
			Model: "claude-sim-1", MaxTokens: 64, Messages: history,
		})
		var message anthropic.Message
		for stream.Next() {
			if err := message.Accumulate(stream.Current()); err != nil {
				t.Fatalf("turn %d: %v", turn, err)
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatalf("turn %d: %v", turn, err)
		}
		if len(message.Content) != 1 || message.Content[0].Text != sim.Text(deltas) {
			t.Fatalf("turn %d: got %+v", turn, message.Content)
		}
		history = append(history, message.ToParam(), anthropic.NewUserMessage(anthropic.NewTextBlock("go on")))
	}
	rec := p.recorded(t, "go")
	if got := rec.Header.Get("Anthropic-Beta"); got != "oauth-2025-04-20" {
		t.Errorf("anthropic-beta is %q upstream", got)
	}
	if got := rec.Header.Get("Authorization"); got != "Bearer sk-ant-oat01-test" {
		t.Errorf("authorization is %q upstream", got)
	}
}

func goSDKCounts(t *testing.T, p *pair) {
	client := p.goSDK(sim.Plan{Name: "count"})
	count, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
		Model: "claude-sim-1", Messages: question(strings.Repeat("word ", 1000)),
	})
	if err != nil {
		t.Fatal(err)
	}
	rec := p.recorded(t, "count")
	await(t, "count", rec.Ended())
	if want := rec.BodyBytes / 4; count.InputTokens != want || want < 1000 {
		t.Errorf("got %d tokens, want %d", count.InputTokens, want)
	}
}

func goSDKErrors(t *testing.T, p *pair) {
	for status, kind := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
	} {
		client := p.goSDK(sim.Plan{Status: status})
		_, err := client.Messages.New(t.Context(), anthropic.MessageNewParams{Model: "claude-sim-1", MaxTokens: 1, Messages: question("x")})
		var apiErr *anthropic.Error
		if !errors.As(err, &apiErr) || apiErr.StatusCode != status || !strings.Contains(apiErr.RawJSON(), kind) {
			t.Errorf("status %d: got %v", status, err)
			continue
		}
		if !strings.HasPrefix(apiErr.RequestID, "req_sim") {
			t.Errorf("status %d: the API's request id became %q", status, apiErr.RequestID)
		}
	}
}

func goSDKModels(t *testing.T, p *pair) {
	client := p.goSDK(sim.Plan{Name: "models"})
	models, err := client.Models.List(t.Context(), anthropic.ModelListParams{Limit: anthropic.Int(1000)})
	if err != nil || len(models.Data) != 1 {
		t.Fatalf("got %+v, %v", models, err)
	}
	if rec := p.recorded(t, "models"); rec.Method != http.MethodGet || rec.Target != "/v1/models?limit=1000" {
		t.Errorf("upstream saw %s %s", rec.Method, rec.Target)
	}
}
