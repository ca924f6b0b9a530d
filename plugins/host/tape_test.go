package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"chorale/plugins/host"
	"chorale/sandbox"
	"chorale/toolhost/egress"
)

func TestTape(t *testing.T) {
	t.Parallel()
	const canary = "canary-secret-value"
	var requests atomic.Int32
	secret := egress.Secret{Name: "key", Value: canary, Header: "X-Key", Audience: egress.Rule{}}
	origin, _ := serve(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, requests.Add(1), " ", r.URL.Path, " ", r.Header.Get("X-Key"))
		if r.URL.Path == "/binary" {
			w.Write([]byte{0xff})
		}
	})
	rule, _ := egress.ParseRule(origin)
	secret.Audience = rule
	client, err := egress.New(egress.Options{Policy: egress.NewPolicy("the test", rule), Secrets: []egress.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	kv := host.NewMemStore(host.StoreLimits{})
	for k, v := range map[string]string{"text": "old", "binary": "\xff", "gone": "x", "unseen": "y"} {
		if err := kv.Set(k, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	// script is a plugin's way through its services, and what it saw.
	script := func(fs *host.FS) []string {
		var seen []string
		f := open(t, fs, "http", rw)
		for _, r := range []string{
			`{"url":"ORIGIN/a"}`, `{"url":"ORIGIN/a"}`, `{"url":"ORIGIN/b","method":"POST","body":"1"}`, `{"url":"ORIGIN/b","method":"POST","body":"2"}`,
			`{"url":"ORIGIN/binary"}`, `{"url":"http://127.0.0.1:1/"}`, `{"url":"ORIGIN/a","headers":{"A":"1"}}`, "nonsense",
		} {
			if _, err := f.WriteAt([]byte(strings.ReplaceAll(r, "ORIGIN", origin)), 0); err != nil {
				t.Error(err)
			}
			seen = append(seen, read(t, f))
		}
		for _, key := range []string{"text", "binary", "none"} {
			v, err := fs.Open("kv/"+key, create)
			if err != nil {
				t.Error(err)
				continue
			}
			seen = append(seen, read(t, v))
			v.WriteAt([]byte("new"), 0)
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			seen = append(seen, read(t, open(t, fs, "kv/"+key, sandbox.Read)))
		}
		seen = append(seen, fmt.Sprint(fs.Unlink("kv/gone"), fs.Unlink("kv/gone")))
		return seen
	}
	tape := host.NewTape()
	first := script(host.New(host.Options{Client: client, KV: kv, Record: tape}))
	var file bytes.Buffer
	if _, err := tape.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(file.String(), canary) || strings.Contains(fmt.Sprint(first), canary) {
		t.Error("the secret is on the tape")
	}
	made := requests.Load()
	replay, err := host.ReadTape(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	fsys := host.New(host.Options{Client: client, KV: kv, Replay: replay})
	if second := script(fsys); !slices.Equal(first, second) {
		t.Errorf("recorded %q\nreplayed %q", first, second)
	}
	if m := replay.Missed(); m != nil {
		t.Errorf("missed %q", m)
	}
	// What is not on the tape.
	for _, r := range []string{`{"url":"ORIGIN/a"}`, `{"url":"ORIGIN/a?q"}`, `{"url":"ORIGIN/b","method":"POST","body":"3"}`, `{"url":"ORIGIN/a","headers":{"a":"2"}}`} {
		if a := ask(t, open(t, fsys, "http", rw), strings.ReplaceAll(r, "ORIGIN", origin)); a.Error == nil || a.Error.Code != "replay" {
			t.Errorf("%s: %+v", r, a)
		}
	}
	if _, err := fsys.Open("kv/unseen", sandbox.Read); !errors.Is(err, sandbox.EIO) {
		t.Errorf("a key that nobody asked for: %v", err)
	}
	if _, err := open(t, fsys, "kv", sandbox.Directory).ReadDir(); !errors.Is(err, sandbox.EIO) {
		t.Errorf("the list of keys: %v", err)
	}
	if _, err := fsys.Open("kv/.bad", sandbox.Read); !errors.Is(err, sandbox.EINVAL) {
		t.Errorf("a bad key: %v", err)
	}
	want := []string{
		"the request GET " + origin + "/a, so often", "the request GET " + origin + "/a", "the request POST " + origin + "/b", "the request GET " + origin + "/a",
		`the key "unseen"`, "the list of keys",
	}
	if got := replay.Missed(); !slices.Equal(got, want) {
		t.Errorf("missed %q\nwant %q", got, want)
	}
	if requests.Load() != made {
		t.Error("the replay has reached the network")
	}
	if v, err := kv.Get("text"); string(v) != "new" || err != nil {
		t.Errorf("the store has %q, %v", v, err)
	}
	if _, err := kv.Get("none"); errors.Is(err, fs.ErrNotExist) {
		t.Error("the recording did not write")
	}
}

func TestTapeOfAllKeys(t *testing.T) {
	t.Parallel()
	kv := host.NewMemStore(host.StoreLimits{})
	kv.Set("a", []byte("1"))
	tape := host.NewTape()
	open(t, host.New(host.Options{KV: kv, Record: tape}), "kv", sandbox.Directory).ReadDir()
	var file bytes.Buffer
	tape.WriteTo(&file)
	replay, err := host.ReadTape(&file)
	if err != nil {
		t.Fatal(err)
	}
	fsys := host.New(host.Options{Replay: replay})
	if _, err := fsys.Open("kv/b", sandbox.Read); !errors.Is(err, sandbox.ENOENT) {
		t.Errorf("a key that was not there: %v", err)
	}
	if list, err := open(t, fsys, "kv", sandbox.Directory).ReadDir(); len(list) != 1 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}

func TestTapesAreChecked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "read tape: ",
		`{"version":2}`:                 "version 2, want 1",
		`{"version":1,"more":1}`:        `unknown field "more"`,
		`{"version":1,"kv":{"/":null}}`: "kv: key",
		`{"version":1,"http":[{"request":{"url":"http://a"},"answer":{}}]}`: "http[0].answer: ",
	} {
		if _, err := host.ReadTape(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
