// Package metrics is the page that Prometheus reads.
//
// It owns the names, help texts and labels of the metrics. It counts nothing: every component counts for itself, and its
// snapshot is taken when the page is asked for, so a counter costs nothing between two visits and a component can be
// tested without this package. It does not know routes or authentication. A handler is safe for concurrent use.
//
// Names are chorale_<component>_<what>_<unit>, with _total for counters. Times are summaries of a count and a sum of
// seconds, so that rates give means; the page has no quantiles.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chorale/inference/engine"
	"chorale/server/containers"
	"chorale/server/httpd"
	"chorale/server/mcp"
	"chorale/server/responses"
	"chorale/toolhost"
)

// Sources are the components on the page. All but Plugins are required, and called for every visit, at the same time if need be.
type Sources struct {
	Engine     func() engine.Stats
	Responses  func() responses.Stats
	Containers func() containers.Stats
	Tools      func() []toolhost.Stats
	Plugins    func() map[string]int // versions of plugins by state; nil: there are no plugins
	HTTP       func() httpd.Stats
	MCP        func() mcp.Stats // nil: tools are not offered
	Version    string           // of the build
	Model      string           // id of the served model
}

// New returns the handler of the page.
func New(s Sources) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{s})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// A collector turns snapshots into metrics. It describes none beforehand, since labels such as routes come and go.
type collector struct{ s Sources }

// Describe implements prometheus.Collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	p := page(ch)
	p.gauge("build_info", "Always 1; the labels say what runs.", 1, "version", c.s.Version, "model", c.s.Model)
	p.engine(c.s.Engine())
	p.responses(c.s.Responses())
	p.containers(c.s.Containers())
	for _, t := range c.s.Tools() {
		p.tool(t)
	}
	if c.s.Plugins != nil {
		for state, n := range c.s.Plugins() {
			p.gauge("plugins", "Versions of plugins by state; calls go to those that are ready.", n, "state", state)
		}
	}
	p.http(c.s.HTTP())
	if c.s.MCP != nil {
		p.mcp(c.s.MCP())
	}
}

// A page is where the metrics of one visit go.
type page chan<- prometheus.Metric

func (p page) engine(s engine.Stats) {
	const sequences = "Sequences that have key/value memory (running) and that wait for it (waiting)."
	p.gauge("engine_sequences", sequences, s.Running, "state", "running")
	p.gauge("engine_sequences", sequences, s.Waiting, "state", "waiting")
	p.counter("engine_prefill_tokens_total", "Tokens computed to catch up: prompts, and again after preemptions.", s.PrefillTokens)
	p.counter("engine_decode_tokens_total", "Tokens sampled.", s.DecodeTokens)
	p.counter("engine_cached_tokens_total", "Tokens of prompts that were found in memory instead of computed.", s.CachedTokens)
	p.counter("engine_preemptions_total", "Sequences that lost their memory to others for a while.", s.Preemptions)
	p.summary("engine_step_seconds", "Time of the model's steps.", s.Steps, s.StepTime)
	p.summary("engine_queue_seconds", "Time that sequences waited before they first ran.", s.Admitted, s.QueueTime)
	const generations = "Ended generations by what ended them."
	p.counter("engine_generations_total", generations, s.Stopped, "reason", "stop_token")
	p.counter("engine_generations_total", generations, s.Exhausted, "reason", "max_tokens")
	p.counter("engine_generations_total", generations, s.Cancelled, "reason", "cancelled")
	p.counter("engine_generations_total", generations, s.Failed, "reason", "failed")
	const blocks = "Blocks of key/value memory by KV group: in use, kept for later prompts, free."
	for i, g := range s.Groups {
		group := strconv.Itoa(i)
		p.gauge("engine_kv_blocks", blocks, g.Used, "group", group, "state", "used")
		p.gauge("engine_kv_blocks", blocks, g.Cached, "group", group, "state", "cached")
		p.gauge("engine_kv_blocks", blocks, g.Total-g.Used-g.Cached, "group", group, "state", "free")
	}
}

func (p page) responses(s responses.Stats) {
	p.gauge("responses_running", "Responses being generated.", s.Running)
	const ended = "Ended responses by status; refused ones were answered with an error before anything was generated."
	p.counter("responses_total", ended, s.Completed, "status", "completed")
	p.counter("responses_total", ended, s.Incomplete, "status", "incomplete")
	p.counter("responses_total", ended, s.Failed, "status", "failed")
	p.counter("responses_total", ended, s.Cancelled, "status", "cancelled")
	p.counter("responses_total", ended, s.Refused, "status", "refused")
	p.counter("responses_input_tokens_total", "Tokens of prompts.", s.InputTokens)
	p.counter("responses_cached_tokens_total", "Tokens of prompts that were not computed again.", s.CachedTokens)
	p.counter("responses_output_tokens_total", "Tokens of answers, reasoning included.", s.OutputTokens)
	p.counter("responses_reasoning_tokens_total", "Tokens of reasoning.", s.ReasoningTokens)
	p.counter("responses_unknown_calls_total", "Calls of the model to tools that do not exist.", s.UnknownCalls)
	for rule, n := range s.Repairs {
		p.counter("responses_repairs_total", "Malformed model output by the rule that repaired it.", n, "rule", rule)
	}
}

func (p page) containers(s containers.Stats) {
	p.gauge("containers", "Containers that have not expired.", s.Containers)
	p.gauge("containers_bytes", "Bytes that containers hold, equal files counted once.", int(s.Bytes))
	const leases = "Containers that a response uses (held), and responses that wait for one (waiting)."
	p.gauge("containers_leases", leases, s.Leased, "state", "held")
	p.gauge("containers_leases", leases, s.Waiting, "state", "waiting")
	const created = "Containers made, by clients and for one response (auto)."
	p.counter("containers_created_total", created, s.Created, "for", "client")
	p.counter("containers_created_total", created, s.Auto, "for", "auto")
	p.counter("containers_uploads_total", "Files that clients have uploaded.", s.Uploads)
	p.counter("containers_saves_total", "States that responses have saved in containers.", s.Saves)
	p.counter("containers_refused_total", "Requests that a limit of the containers has refused.", s.Refused)
}

func (p page) tool(s toolhost.Stats) {
	p.summary("tool_call_seconds", "Time of the calls of tools, with waiting for one.", s.Calls, s.Duration, "tool", s.Tool)
	const failures = "Calls that failed: in the words of the tool (result), or because it broke, hung or could not be opened (error)."
	p.counter("tool_failures_total", failures, s.Failed-s.Errors, "tool", s.Tool, "reason", "result")
	p.counter("tool_failures_total", failures, s.Errors, "tool", s.Tool, "reason", "error")
	p.counter("tool_given_up_total", "Times that a tool did not come back and was left alone.", s.GivenUp, "tool", s.Tool)
	p.counter("tool_unusable_states_total", "States of earlier responses that a tool could not go on from.", s.Unusable, "tool", s.Tool)
	const instances = "Instances of tools that are open, and entries into tools that hang, each of which holds an open one."
	p.gauge("tool_instances", instances, s.Open, "tool", s.Tool, "state", "open")
	p.gauge("tool_instances", instances, s.Hung, "tool", s.Tool, "state", "hung")
	const bytes = "Bytes that went into tools, that came out as text, and of those that were cut off."
	p.counter("tool_bytes_total", bytes, s.BytesIn, "tool", s.Tool, "kind", "in")
	p.counter("tool_bytes_total", bytes, s.BytesOut, "tool", s.Tool, "kind", "out")
	p.counter("tool_bytes_total", bytes, s.Cut, "tool", s.Tool, "kind", "cut")
}

func (p page) http(s httpd.Stats) {
	p.gauge("http_requests_in_flight", "Requests being answered, streams included.", s.InFlight)
	for _, r := range s.Routes {
		p.summary("http_request_seconds", "Time to the end of the answer by route and status.", r.Requests, r.Duration,
			"route", r.Route, "status", strconv.Itoa(r.Status))
	}
}

func (p page) mcp(s mcp.Stats) {
	p.gauge("mcp_requests_in_flight", "Requests of MCP clients being answered, without streams.", s.InFlight)
	p.gauge("mcp_streams", "Streams open for notifications to MCP clients.", s.Streams)
	p.gauge("mcp_sessions", "Sessions of MCP clients of the older revisions.", s.Sessions)
	p.gauge("mcp_states", "Sessions of tools that MCP clients have made.", s.States)
	p.gauge("mcp_states_bytes", "Bytes that sessions of tools hold.", int(s.Bytes))
	const requests = "Requests of MCP clients: that reached the protocol (taken), and that a check or a limit refused before."
	p.counter("mcp_requests_total", requests, s.Requests, "result", "taken")
	p.counter("mcp_requests_total", requests, s.Refused, "result", "refused")
	p.counter("mcp_calls_total", "Calls of tools by MCP clients.", s.Calls)
	const ended = "Of those: that failed, in the words of the tool or of its host, and whose client went away or took them back."
	p.counter("mcp_calls_ended_total", ended, s.Failed, "reason", "failed")
	p.counter("mcp_calls_ended_total", ended, s.Cancelled, "reason", "cancelled")
	p.counter("mcp_notifications_total", "Notifications that were sent within answers and streams.", s.Notifications)
	p.counter("mcp_expired_total", "Sessions, of both kinds, that were unused for too long or made place.", s.Expired)
}

func (p page) gauge(name, help string, value int, labels ...string) {
	d, values := describe(name, help, labels)
	p <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), values...)
}

func (p page) counter(name, help string, value uint64, labels ...string) {
	d, values := describe(name, help, labels)
	p <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), values...)
}

func (p page) summary(name, help string, count uint64, sum time.Duration, labels ...string) {
	d, values := describe(name, help, labels)
	p <- prometheus.MustNewConstSummary(d, count, sum.Seconds(), nil, values...)
}

// describe takes labels as names and values in turn.
func describe(name, help string, labels []string) (d *prometheus.Desc, values []string) {
	var names []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return prometheus.NewDesc("chorale_"+name, help, names, nil), values
}
