package fetch

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// sniffBytes is what http.DetectContentType looks at.
const sniffBytes = 512

// decode undoes a content encoding. Servers are asked for gzip, which the transport has undone already; some send
// another one, or gzip twice. What comes out is never read further than the limit of a body.
func decode(resp *http.Response) (io.Reader, error) {
	switch e := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))); e {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		r, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, fmt.Errorf("the page is not the gzip that it says it is: %w", err)
		}
		return r, nil
	case "deflate":
		// The standard means zlib, and some servers send what zlib wraps.
		b := bufio.NewReader(resp.Body)
		if head, err := b.Peek(2); err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			return zlib.NewReader(b)
		}
		return flate.NewReader(b), nil
	default:
		return nil, &Error{Kind: Type, Message: fmt.Sprintf("the page is compressed in a way that was not asked for (%.40q)", e)}
	}
}

// contentType is the type of a body without parameters, and its charset. The header is believed unless it says nothing
// or text, of what plainly is not.
func contentType(header string, head []byte) (string, string) {
	typ, params, err := mime.ParseMediaType(header)
	if err != nil {
		typ, _, _ = strings.Cut(strings.ToLower(header), ";")
		typ, params = strings.TrimSpace(typ), nil
		if !strings.Contains(typ, "/") {
			typ = ""
		}
	}
	charset := strings.ToLower(params["charset"])
	sniffed, _, _ := mime.ParseMediaType(http.DetectContentType(head))
	switch typ {
	case "", "application/octet-stream", "binary/octet-stream", "application/binary", "application/unknown", "unknown/unknown",
		"application/x-download", "application/force-download":
		if len(head) == 0 {
			return "text/plain", charset
		}
		return sniffed, charset
	case "text/plain":
		if !strings.HasPrefix(sniffed, "text/") {
			return sniffed, charset
		}
	case "text/html", "application/xhtml+xml":
		// Named as pages by servers that name everything so.
		if sniffed == "application/pdf" || strings.HasPrefix(sniffed, "image/") || strings.HasPrefix(sniffed, "video/") ||
			bytes.HasPrefix(head, []byte("PK\x03\x04")) {
			return sniffed, charset
		}
	}
	return typ, charset
}

func isHTML(typ string) bool { return typ == "text/html" || typ == "application/xhtml+xml" }

// readable reports whether the page package can make text of a type.
func readable(typ string) bool {
	main, sub, _ := strings.Cut(typ, "/")
	switch {
	case main == "text", strings.HasSuffix(sub, "+xml") && main != "image", strings.HasSuffix(sub, "+json"):
		return true
	case typ == "image/svg+xml":
		return true
	case main != "application":
		return false
	}
	switch sub {
	case "pdf", "x-pdf", "json", "xml", "xhtml+xml", "javascript", "x-javascript", "ecmascript", "ld+json", "x-ndjson", "ndjson",
		"jsonl", "yaml", "x-yaml", "toml", "x-sh", "x-httpd-php", "x-tex", "x-latex", "rtf", "csv", "x-csv", "sql", "graphql",
		"x-python", "x-ruby", "x-perl", "x-subrip", "mbox", "x-bibtex":
		return true
	}
	return false
}

// describe is a type that cannot be read, for the message.
func describe(typ string, size int64) string {
	kind := "a file"
	switch main, _, _ := strings.Cut(typ, "/"); main {
	case "image":
		kind = "an image"
	case "audio":
		kind = "a sound"
	case "video":
		kind = "a video"
	case "font":
		kind = "a font"
	}
	if size >= 0 {
		return fmt.Sprintf("%s (%s, %d bytes)", kind, typ, size)
	}
	return fmt.Sprintf("%s (%s)", kind, typ)
}
