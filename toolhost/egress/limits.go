package egress

import (
	"fmt"
	"time"
)

// Limits bound what a Client does. Zeros stand for the defaults, negative values for no limit, except where it says
// more.
type Limits struct {
	Redirects      int           // that are followed; negative: none, and callers get the response that redirects
	RequestHeader  int64         // bytes of URL and header
	RequestBody    int64         // bytes
	ResponseHeader int64         // bytes, always limited; HTTP/2 then gives the connection up, without a LimitError
	ResponseBody   int64         // bytes, decompressed
	Dial           time.Duration // for name and connection, and for TLS; always limited
	Header         time.Duration // from the request to the header of its response
	Total          time.Duration // from the call to the end of the body, redirects included; also of a tunnel
	Concurrent     int           // requests and tunnels at the same time, of a Client and its sessions; always limited
	Requests       int64         // of a session, redirects and tunnels included
	Bytes          int64         // of a session's bodies and tunnels, both directions
}

// The defaults of Limits.
const (
	DefaultRedirects      = 5
	DefaultRequestHeader  = 64 << 10
	DefaultRequestBody    = 8 << 20
	DefaultResponseHeader = 64 << 10
	DefaultResponseBody   = 16 << 20
	DefaultDial           = 10 * time.Second
	DefaultHeader         = 30 * time.Second
	DefaultTotal          = 2 * time.Minute
	DefaultConcurrent     = 16
	DefaultRequests       = 1000
	DefaultBytes          = 256 << 20
)

// unlimited is larger than anything that is counted.
const unlimited = 1 << 62

func (l Limits) complete() Limits {
	bound(&l.Redirects, DefaultRedirects, 0)
	bound(&l.Concurrent, DefaultConcurrent, DefaultConcurrent)
	bound(&l.RequestHeader, DefaultRequestHeader, unlimited)
	bound(&l.RequestBody, DefaultRequestBody, unlimited)
	bound(&l.ResponseHeader, DefaultResponseHeader, DefaultResponseHeader)
	bound(&l.ResponseBody, DefaultResponseBody, unlimited)
	bound(&l.Requests, DefaultRequests, unlimited)
	bound(&l.Bytes, DefaultBytes, unlimited)
	bound(&l.Dial, DefaultDial, DefaultDial)
	bound(&l.Header, DefaultHeader, unlimited)
	bound(&l.Total, DefaultTotal, unlimited)
	return l
}

func bound[T int | int64 | time.Duration](v *T, def, none T) {
	switch {
	case *v == 0:
		*v = def
	case *v < 0:
		*v = none
	}
}

// A LimitError says which limit ended a request.
type LimitError struct {
	Limit string // such as "response body"
	Most  string // with its unit
}

func (e *LimitError) Error() string { return fmt.Sprintf("limit of %s reached: %s", e.Limit, e.Most) }

func overBytes(limit string, n int64) *LimitError {
	return &LimitError{limit, fmt.Sprintf("%d bytes", n)}
}
func overTime(limit string, d time.Duration) *LimitError { return &LimitError{limit, d.String()} }
