package api

// Limits of container requests.
const (
	MaxContainerName    = 256    // characters
	MaxContainerMinutes = 10_000 // of expires_after; a server may allow fewer
	maxContainerFiles   = 1_000  // ids in a request
)

// A Container is a place for files and for what an interpreter remembers, outside of any response.
type Container struct {
	ID            string        `json:"id"`
	Object        string        `json:"object"` // always "container"
	CreatedAt     int64         `json:"created_at"`
	Status        string        `json:"status"` // ContainerRunning or ContainerExpired
	LastActiveAt  int64         `json:"last_active_at"`
	ExpiresAfter  ExpiresAfter  `json:"expires_after"`
	Name          string        `json:"name"`
	MemoryLimit   string        `json:"memory_limit"`
	NetworkPolicy NetworkPolicy `json:"network_policy"`
}

// Statuses of a Container.
const (
	ContainerRunning = "running"
	ContainerExpired = "expired"
)

// ExpiresAfter says when a container goes.
type ExpiresAfter struct {
	Anchor  string `json:"anchor"` // always "last_active_at"
	Minutes int64  `json:"minutes"`
}

// A NetworkPolicy says what a container may reach.
type NetworkPolicy struct {
	Type string `json:"type"` // "disabled" or "allowlist"
}

// A ContainerFile is a file of a container.
type ContainerFile struct {
	ID          string `json:"id"`
	Object      string `json:"object"` // always "container.file"
	CreatedAt   int64  `json:"created_at"`
	Bytes       int64  `json:"bytes"`
	ContainerID string `json:"container_id"`
	Path        string `json:"path"`   // absolute, below /mnt/data
	Source      string `json:"source"` // SourceUser or SourceAssistant
}

// Sources of a ContainerFile.
const (
	SourceUser      = "user"      // uploaded
	SourceAssistant = "assistant" // written by the model's code
)

// A ContainerSpec is what a container can be asked to be. Zero members were not sent.
type ContainerSpec struct {
	FileIDs       []string // of the files API
	MemoryLimit   string   // 1g, 4g, 16g or 64g
	NetworkPolicy string   // disabled or allowlist
	Skills        bool     // sent, whatever it held
}

// A ContainerRequest is the body of POST /v1/containers.
type ContainerRequest struct {
	ContainerSpec
	Name           string
	ExpiresMinutes int64    // after the last use; 0 = not sent
	Unknown        []string // names of members that were ignored, sorted
}

// A ContainerChoice is the container of a code_interpreter tool: one that exists, or a new one.
type ContainerChoice struct {
	ID   string // "" = a new one
	Auto ContainerSpec
}

// DecodeContainerRequest reads the body of POST /v1/containers. The error is an *Error.
func DecodeContainerRequest(data []byte) (*ContainerRequest, error) {
	return decode(data, value.containerRequest)
}

// DecodeContainerFileRequest reads the JSON body of POST /v1/containers/{id}/files, which names a file of the files API.
// The error is an *Error.
func DecodeContainerFileRequest(data []byte) (fileID string, err error) {
	return decode(data, func(v value) string { return v.object("an object").need("file_id").textUpTo(maxIdentifier) })
}

func (v value) containerRequest() *ContainerRequest {
	o := v.object("an object")
	name := o.need("name")
	r := &ContainerRequest{Name: name.textUpTo(MaxContainerName), ContainerSpec: o.containerSpec()}
	if *v.err == nil && r.Name == "" {
		name.invalid("invalid_value", "it must not be empty.")
	}
	if after := o.get("expires_after"); after.ok() {
		e := after.object("an object")
		e.need("anchor").oneOf("last_active_at")
		r.ExpiresMinutes = e.need("minutes").integer(1, MaxContainerMinutes)
	}
	r.Unknown = sortedKeys(o.members)
	return r
}

func (o object) containerSpec() ContainerSpec {
	c := ContainerSpec{FileIDs: o.get("file_ids").texts(maxContainerFiles), Skills: o.get("skills").ok()}
	if m := o.get("memory_limit"); m.ok() {
		c.MemoryLimit = m.oneOf("1g", "4g", "16g", "64g")
	}
	if n := o.get("network_policy"); n.ok() {
		policy := n.object("an object")
		c.NetworkPolicy = policy.need("type").oneOf("disabled", "allowlist")
	}
	return c
}

// containerChoice reads the container of a code_interpreter tool. The tool without one gets a new container: some clients
// leave it out.
func (v value) containerChoice() ContainerChoice {
	switch {
	case !v.ok():
		return ContainerChoice{}
	case v.raw[0] == '"':
		id := v.textUpTo(maxIdentifier)
		if *v.err == nil && id == "" {
			v.invalid("invalid_value", "it must not be empty.")
		}
		return ContainerChoice{ID: id}
	}
	o := v.object("one of a string or an object")
	o.need("type").oneOf("auto")
	return ContainerChoice{Auto: o.containerSpec()}
}
