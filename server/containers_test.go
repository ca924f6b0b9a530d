package main

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"testing"
)

// TestContainersSurviveAKill uploads a file, kills the server, and reads it from the next one.
func TestContainersSurviveAKill(t *testing.T) {
	t.Parallel()
	p := start(t)
	var made struct{ ID, Status string }
	decode := func(status int, data []byte) {
		t.Helper()
		if err := json.Unmarshal(data, &made); err != nil || status != 200 {
			t.Fatalf("status %d, %v: %s", status, err, data)
		}
	}
	decode(p.request("POST", "/v1/containers", `{"name":"n"}`))
	path := "/v1/containers/" + made.ID
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "a.csv")
	if err != nil {
		t.Fatal(err)
	}
	part.Write([]byte("1,2"))
	w.Close()
	res, err := http.Post(p.url+path+"/files", w.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || res.StatusCode != 200 {
		t.Fatalf("upload: status %d, %v", res.StatusCode, err)
	}
	p.cmd.Process.Kill()
	p.wait()
	p.exited = make(chan error, 1)
	p.launch()
	if status, data := p.request("GET", path+"/files/"+made.ID+"/content", ""); status != 200 || string(data) != "1,2" {
		t.Errorf("after the kill: status %d, %q", status, data)
	}
	if n := p.metric("chorale_containers"); n != "1" {
		t.Errorf("%s containers on the page of metrics", n)
	}
	if status, _ := p.request("DELETE", path, ""); status != 200 {
		t.Errorf("delete: status %d", status)
	}
	if n := p.metric("chorale_containers_bytes"); n != "0" {
		t.Errorf("%s bytes are left", n)
	}
}
