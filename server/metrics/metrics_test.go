package metrics_test

import (
	"io"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"chorale/inference/engine"
	"chorale/server/containers"
	"chorale/server/httpd"
	"chorale/server/mcp"
	"chorale/server/metrics"
	"chorale/server/responses"
	"chorale/toolhost"
)

// fill gives every number of a struct a different value, counting up from first.
func fill(v reflect.Value, next *int64) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.CanInt():
			f.SetInt(*next)
		case f.CanUint():
			f.SetUint(uint64(*next))
		default:
			continue
		}
		*next++
	}
}

func get(t *testing.T, s metrics.Sources) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.New(s).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, body)
	}
	return string(body)
}

func TestEveryCounterIsOnThePage(t *testing.T) {
	t.Parallel()
	var e engine.Stats
	var r responses.Stats
	var k containers.Stats
	next := int64(1001)
	fill(reflect.ValueOf(&e).Elem(), &next)
	fill(reflect.ValueOf(&r).Elem(), &next)
	fill(reflect.ValueOf(&k).Elem(), &next)
	var m mcp.Stats
	fill(reflect.ValueOf(&m).Elem(), &next)
	last := next
	e.StepTime, e.QueueTime = 77777*time.Second, 88888*time.Second
	e.Groups = []engine.GroupStats{{Used: 30001, Cached: 30002, Total: 90006}}
	r.Repairs = map[string]uint64{"missing_start": 40001}
	h := httpd.Stats{InFlight: 50001, Routes: []httpd.RouteStats{{Route: "/v1/responses", Status: 200, Requests: 50002, Duration: 50003 * time.Second}}}
	p := toolhost.Stats{Tool: "python", Open: 2, Hung: 1, Calls: 60001, Failed: 60030, Errors: 60010, GivenUp: 60003, Unusable: 60004,
		Duration: 60005 * time.Second, BytesIn: 60006, BytesOut: 60007, Cut: 60008}
	page := get(t, metrics.Sources{Engine: func() engine.Stats { return e }, Responses: func() responses.Stats { return r },
		Containers: func() containers.Stats { return k }, Tools: func() []toolhost.Stats { return []toolhost.Stats{p} }, HTTP: func() httpd.Stats { return h },
		MCP: func() mcp.Stats { return m }, Version: "v1", Model: "m"})
	want := []string{
		`chorale_build_info{model="m",version="v1"} 1`,
		`chorale_engine_step_seconds_sum 77777`, `chorale_engine_queue_seconds_sum 88888`,
		`chorale_engine_kv_blocks{group="0",state="free"} 30003`,
		`chorale_responses_repairs_total{rule="missing_start"} 40001`,
		`chorale_http_requests_in_flight 50001`,
		`chorale_http_request_seconds_count{route="/v1/responses",status="200"} 50002`,
		`chorale_http_request_seconds_sum{route="/v1/responses",status="200"} 50003`,
		`chorale_engine_sequences{state="running"} 1001`,
		`chorale_tool_call_seconds_count{tool="python"} 60001`, `chorale_tool_call_seconds_sum{tool="python"} 60005`,
		`chorale_tool_failures_total{reason="result",tool="python"} 20`, `chorale_tool_failures_total{reason="error",tool="python"} 60010`,
		`chorale_tool_given_up_total{tool="python"} 60003`, `chorale_tool_unusable_states_total{tool="python"} 60004`,
		`chorale_tool_instances{state="open",tool="python"} 2`, `chorale_tool_instances{state="hung",tool="python"} 1`,
		`chorale_tool_bytes_total{kind="in",tool="python"} 60006`, `chorale_tool_bytes_total{kind="out",tool="python"} 60007`,
		`chorale_tool_bytes_total{kind="cut",tool="python"} 60008`,
	}
	for _, line := range want {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the page has no line %s", line)
		}
	}
	durations := map[int64]bool{}
	for _, f := range []string{"StepTime", "QueueTime"} {
		field, _ := reflect.TypeOf(e).FieldByName(f)
		durations[1001+int64(field.Index[0])] = true
	}
	for n := int64(1001); n < last; n++ {
		if !durations[n] && !strings.Contains(page, " "+strconv.FormatInt(n, 10)+"\n") {
			t.Errorf("number %d of the snapshots is not on the page", n)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}
