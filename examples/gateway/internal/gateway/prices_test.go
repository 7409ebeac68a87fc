package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

func TestPricesAreOfModels(t *testing.T) {
	p := Prices{}
	for _, s := range []string{"*=1,2,3,4", "big*=5,0.5,6.25,25", "big-mini=0.1,0,0,1e1", "a=b=1,1,1,1"} {
		require.NoError(t, p.Set(s))
	}
	for model, want := range map[string]savings.Prices{
		"big-4": {Prompt: 5, Cached: .5, CacheWritten: 6.25, Output: 25}, "big-mini": {Prompt: .1, Output: 10},
		"other": {Prompt: 1, Cached: 2, CacheWritten: 3, Output: 4}, "a=b": {Prompt: 1, Cached: 1, CacheWritten: 1, Output: 1},
	} {
		require.Equal(t, want, p.Of(model), model)
	}
	require.Zero(t, Prices{"a*": {Prompt: 1}}.Of("b"))
	for _, s := range []string{"", "m", "=1,2,3,4", "m=1,2,3", "m=1,2,3,4,5", "m=1,2,3,-1", "m=1,2,3,NaN", "m=1,2,3,Inf", "m=1,,3,4", "m=one,2,3,4"} {
		require.Error(t, p.Set(s), s)
		_, err := parseCommand([]string{"-serve", "-price", s}, nil)
		require.ErrorAs(t, err, new(usageError), s)
	}
}

// With prices the page shows what the answers have cost, and what they would have cost without
// affinity.
func TestThePageShowsMoney(t *testing.T) {
	c, err := parseCommand([]string{"-serve", "-price", "m=1,0.1,1.25,5"}, nil)
	require.NoError(t, err)
	sim, pool, stop, err := simulatedPool(4, simulator.Options{}, nil)
	require.NoError(t, err)
	defer stop()
	g, err := NewGateway(GatewayOptions{Pool: pool, Affinity: true, Base: direct{sim}, Prices: c.prices})
	require.NoError(t, err)
	defer g.Close()
	said := `{"role":"user","content":"` + strings.Repeat("a conversation has much to say. ", 700) + `"}`
	for range 20 {
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[`+said+`]}`))
		r.Header.Set("X-Session-Id", "one")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		said += `,{"role":"assistant","content":"yes"},{"role":"user","content":"go on"}`
	}
	saved := g.Savings()
	require.Greater(t, saved.CostWithout, saved.Cost*1.5)
	page, err := g.Page(false, nil)
	require.NoError(t, err)
	ask := func(accept string) *bytes.Buffer {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		return w.Body
	}
	require.Contains(t, ask("text/html").String(), "Money saved")
	var v struct {
		Savings struct {
			Cost        float64 `json:"cost"`
			CostWithout float64 `json:"cost_without"`
		}
	}
	require.NoError(t, json.Unmarshal(ask("application/json").Bytes(), &v))
	require.Equal(t, []float64{saved.Cost, saved.CostWithout}, []float64{v.Savings.Cost, v.Savings.CostWithout})
}
