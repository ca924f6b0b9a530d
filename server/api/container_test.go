package api_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"chorale/server/api"
)

func TestDecodeContainerRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		want       api.ContainerRequest
	}{
		{"least", `{"name":"n"}`, api.ContainerRequest{Name: "n", Unknown: []string{}}},
		{"nulls are absent", ` {"name":"n","expires_after":null,"file_ids":null,"memory_limit":null,"network_policy":null,"skills":null} `,
			api.ContainerRequest{Name: "n", Unknown: []string{}}},
		{"everything", `{"name":"n","expires_after":{"anchor":"last_active_at","minutes":20},"file_ids":["a"],"memory_limit":"64g",
			"network_policy":{"type":"allowlist","allowed_domains":["x"]},"skills":[],"zz":1,"aa":2}`,
			api.ContainerRequest{Name: "n", ExpiresMinutes: 20, Unknown: []string{"aa", "zz"}, ContainerSpec: api.ContainerSpec{
				FileIDs: []string{"a"}, MemoryLimit: "64g", NetworkPolicy: "allowlist", Skills: true}}},
	}
	for _, tt := range tests {
		got, err := api.DecodeContainerRequest([]byte(tt.body))
		if err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: got %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestDecodeContainerRequestRefuses(t *testing.T) {
	t.Parallel()
	with := func(member string) string { return `{"name":"n",` + member + `}` }
	tests := []struct{ name, body, param, code string }{
		{"nothing", ``, "", "invalid_json"},
		{"an array", `[]`, "", "invalid_type"},
		{"no name", `{}`, "name", "missing_required_parameter"},
		{"empty name", `{"name":""}`, "name", "invalid_value"},
		{"long name", `{"name":"` + strings.Repeat("é", 257) + `"}`, "name", "string_above_max_length"},
		{"name is a number", `{"name":1}`, "name", "invalid_type"},
		{"repeated key", with(`"name":"m"`), "", "invalid_json"},
		{"expiry is a number", with(`"expires_after":5`), "expires_after", "invalid_type"},
		{"no anchor", with(`"expires_after":{"minutes":5}`), "expires_after.anchor", "missing_required_parameter"},
		{"half a minute", with(`"expires_after":{"anchor":"last_active_at","minutes":0.5}`), "expires_after.minutes", "invalid_type"},
		{"no minute", with(`"expires_after":{"anchor":"last_active_at","minutes":0}`), "expires_after.minutes", "integer_below_min_value"},
		{"more minutes than any", with(`"expires_after":{"anchor":"last_active_at","minutes":10001}`), "expires_after.minutes", "integer_above_max_value"},
		{"file ids is a string", with(`"file_ids":"a"`), "file_ids", "invalid_type"},
		{"file id is a number", with(`"file_ids":["a",1]`), "file_ids[1]", "invalid_type"},
		{"unknown memory limit", with(`"memory_limit":"3g"`), "memory_limit", "invalid_value"},
		{"network policy is a string", with(`"network_policy":"disabled"`), "network_policy", "invalid_type"},
		{"unknown network policy", with(`"network_policy":{"type":"open"}`), "network_policy.type", "invalid_value"},
	}
	for _, tt := range tests {
		_, err := api.DecodeContainerRequest([]byte(tt.body))
		var e *api.Error
		if !errors.As(err, &e) || e.Param != tt.param || e.Code != tt.code {
			t.Errorf("%s: got %v, want code %s for %q", tt.name, err, tt.code, tt.param)
		}
	}
}

func TestDecodeContainerFileRequest(t *testing.T) {
	t.Parallel()
	if id, err := api.DecodeContainerFileRequest([]byte(`{"file_id":"file-1"}`)); id != "file-1" || err != nil {
		t.Errorf("got %q, %v", id, err)
	}
	for _, body := range []string{`{}`, `{"file_id":1}`, `"file-1"`, ``} {
		if _, err := api.DecodeContainerFileRequest([]byte(body)); err == nil {
			t.Errorf("%s is accepted", body)
		}
	}
}

func TestContainerEncodes(t *testing.T) {
	t.Parallel()
	id := "i"
	tests := []struct {
		value any
		want  string
	}{
		{api.Container{ID: "c", Object: "container", CreatedAt: 1, Status: api.ContainerRunning, LastActiveAt: 2, Name: "n", MemoryLimit: "1g",
			ExpiresAfter: api.ExpiresAfter{Anchor: "last_active_at", Minutes: 20}, NetworkPolicy: api.NetworkPolicy{Type: "disabled"}},
			`{"id":"c","object":"container","created_at":1,"status":"running","last_active_at":2,"expires_after":{"anchor":"last_active_at","minutes":20},"name":"n","memory_limit":"1g","network_policy":{"type":"disabled"}}`},
		{api.ContainerFile{ID: "f", Object: "container.file", CreatedAt: 1, ContainerID: "c", Path: "/mnt/data/a&b", Source: api.SourceUser},
			`{"id":"f","object":"container.file","created_at":1,"bytes":0,"container_id":"c","path":"/mnt/data/a&b","source":"user"}`},
		{api.List[api.ContainerFile]{Object: "list", Data: []api.ContainerFile{}, FirstID: &id},
			`{"object":"list","data":[],"first_id":"i","last_id":null,"has_more":false}`},
	}
	for _, tt := range tests {
		if got, err := api.Encode(tt.value); err != nil || string(got) != tt.want {
			t.Errorf("got %s, %v; want %s", got, err, tt.want)
		}
	}
}
