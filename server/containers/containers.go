// Package containers keeps files, and what an interpreter remembers, from one response to the next.
//
// It owns what /v1/containers is about: containers and their files, their quotas and expiry, and the leases by which a
// response uses one. A container is data, not a process: between two responses nothing of it runs, and what its memory
// means is the tool's business. It knows no tool, no model and no HTTP. A Service is safe for concurrent use; a Lease
// belongs to one goroutine.
//
// Every container is in use by one response at a time; others wait in the order in which they came. Leases are kept in
// memory, so a crash ends them all, and they hold between the responses of one process only. What a response changed is
// applied to what the container holds by then: files that clients uploaded or deleted in the meantime stay so, unless the
// response has written them too.
//
// A container is as old as its last use: reading it or its files counts, listing containers does not. Nothing happens in
// the background: what has expired is cleared away when something else is created or changed, and answers as expired
// before.
//
// Like responses, containers are open to everybody who knows their id, which cannot be guessed. So List shows a client only
// what it made itself.
package containers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"chorale/server/api"
	"chorale/server/store"
)

// Options configure a Service. Store and Logger are required and stay the caller's to close. Zero limits mean the default
// that the comment names.
type Options struct {
	Store  *store.Store
	Logger *slog.Logger
	Random func(p []byte) // fills p with random bytes, for ids; nil = crypto/rand

	Expiry    time.Duration // after the last use, where the client asks for nothing else; 20 minutes, as OpenAI's
	MaxExpiry time.Duration // what clients may ask for; 24 hours

	// MaxMemory is how many bytes the interpreters of this server may use, which is not for containers to decide; 0 = 4 GiB. What
	// clients are told of the memory of a container that asks for more.
	MaxMemory int64

	MaxContainers     int   // that have not expired; 1,000
	MaxFiles          int   // in a container, scratch files that no client sees included; 1,000
	MaxFileBytes      int64 // of an uploaded file; 32 MiB
	MaxContainerBytes int64 // of a container, its memory included; 128 MiB
	MaxBytes          int64 // of all containers together, equal files counted once; 1 GiB
	MaxWaiting        int   // responses that wait for one container; 8
}

// Stats are counters since the start, but for the first four. It is a copy.
type Stats struct {
	Containers int   // that have not expired
	Bytes      int64 // that they hold, equal files counted once
	Leased     int   // in use by a response
	Waiting    int   // responses that wait for one

	Created uint64 // by clients
	Auto    uint64 // for one response
	Uploads uint64
	Saves   uint64 // by responses
	Refused uint64 // because of a limit
}

// A Service keeps containers.
type Service struct {
	o      Options
	limits store.Limits

	mu    sync.Mutex // guards all below
	lanes map[string]*lane
	stats Stats
}

// New returns a Service, and clears away what has expired while there was none.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Store == nil || o.Logger == nil {
		return nil, errors.New("containers: Store and Logger are required")
	}
	if o.Random == nil {
		o.Random = func(p []byte) { _, _ = rand.Read(p) } // it never fails
	}
	setDefault(&o.Expiry, 20*time.Minute)
	setDefault(&o.MaxExpiry, 24*time.Hour)
	setDefault(&o.MaxMemory, 4<<30)
	setDefault(&o.MaxContainers, 1_000)
	setDefault(&o.MaxFiles, 1_000)
	setDefault(&o.MaxFileBytes, 32<<20)
	setDefault(&o.MaxContainerBytes, 128<<20)
	setDefault(&o.MaxBytes, 1<<30)
	setDefault(&o.MaxWaiting, 8)
	if o.Expiry < time.Minute || o.MaxExpiry < o.Expiry {
		return nil, fmt.Errorf("containers: Expiry is %v and MaxExpiry %v, want at least a minute, and no more than the latter",
			o.Expiry, o.MaxExpiry)
	}
	if o.MaxMemory < 0 || o.MaxContainers < 0 || o.MaxFiles < 0 || o.MaxFileBytes < 0 || o.MaxContainerBytes < 0 || o.MaxBytes < 0 || o.MaxWaiting < 0 {
		return nil, errors.New("containers: a limit is negative")
	}
	s := &Service{o: o, lanes: map[string]*lane{}}
	s.limits = store.Limits{Containers: o.MaxContainers, Files: o.MaxFiles, ContainerBytes: o.MaxContainerBytes,
		Bytes: o.MaxBytes, InUse: s.inUse}
	return s, o.Store.ExpireContainers(ctx, s.limits)
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// autoName is the name of containers that were made for one response.
const autoName = "auto"

// Create makes a container for the client that is the owner, "" for no one in particular. The error is an *api.Error.
func (s *Service) Create(ctx context.Context, owner string, r *api.ContainerRequest) (*api.Container, error) {
	if len(r.Unknown) > 0 {
		s.o.Logger.Debug("members of the request ignored", "reason", r.Unknown)
	}
	ttl := s.o.Expiry
	if r.ExpiresMinutes > 0 {
		ttl = time.Duration(r.ExpiresMinutes) * time.Minute
	}
	if ttl > s.o.MaxExpiry {
		return nil, api.BadRequest("integer_above_max_value", "expires_after.minutes",
			"Invalid 'expires_after.minutes': integer above maximum value. Expected a value <= %d, but got %d instead.",
			int64(s.o.MaxExpiry/time.Minute), r.ExpiresMinutes)
	}
	if err := check(r.ContainerSpec, ""); err != nil {
		return nil, err
	}
	c := s.newContainer(r.Name, r.ContainerSpec)
	c.Owner, c.TTL = owner, ttl
	c, err := s.o.Store.CreateContainer(ctx, c, nil, s.limits)
	if err != nil {
		return nil, s.publicError(err, c.ID)
	}
	s.count(func(st *Stats) { st.Created++ })
	return s.wire(c), nil
}

func (s *Service) newContainer(name string, spec api.ContainerSpec) store.Container {
	if spec.MemoryLimit == "" {
		spec.MemoryLimit = "1g" // OpenAI's default
	}
	return store.Container{ID: s.newID("cntr"), Name: name, MemoryLimit: spec.MemoryLimit, TTL: s.o.Expiry}
}

// Check says what in a spec this server cannot do; prefix is the path of the spec with a dot behind it, for the error,
// which is an *api.Error. Create and New check for themselves.
func (s *Service) Check(spec api.ContainerSpec, prefix string) error { return check(spec, prefix) }

func check(spec api.ContainerSpec, prefix string) error {
	unsupported := func(member, format string, args ...any) error {
		return api.BadRequest("unsupported_parameter", prefix+member, "Unsupported '%s': %s", prefix+member, fmt.Sprintf(format, args...))
	}
	switch {
	case len(spec.FileIDs) > 0:
		return unsupported("file_ids", "this server has no files API. Upload to /v1/containers/{container_id}/files instead.")
	case spec.MemoryLimit == "16g", spec.MemoryLimit == "64g":
		return unsupported("memory_limit", "the interpreter has 32-bit addresses, so '4g' is the most, but got '%s'.", spec.MemoryLimit)
	case spec.NetworkPolicy == "allowlist":
		return unsupported("network_policy", "containers of this server have no network. The only policy is 'disabled'.")
	case spec.Skills:
		return unsupported("skills", "this server has none.")
	}
	return nil
}

// List returns a page of the containers that the owner made, with a name only those of that name. Those that were made for
// responses are no one's in particular, the owner "". The error is an *api.Error.
func (s *Service) List(ctx context.Context, owner, name string, page api.Page) (*api.List[api.Container], error) {
	found, more, err := s.o.Store.Containers(ctx, owner, name, page, s.limits)
	if err != nil {
		return nil, s.pageError(err, page.After, "")
	}
	list := &api.List[api.Container]{Object: "list", Data: []api.Container{}, HasMore: more}
	for _, c := range found {
		list.Data = append(list.Data, *s.wire(c))
	}
	if n := len(list.Data); n > 0 {
		list.FirstID, list.LastID = &list.Data[0].ID, &list.Data[n-1].ID
	}
	return list, nil
}

// Get returns a container, expired or not. The error is an *api.Error.
func (s *Service) Get(ctx context.Context, id string) (*api.Container, error) {
	c, err := s.o.Store.UseContainer(ctx, id, s.limits)
	if err != nil {
		return nil, s.publicError(err, id)
	}
	return s.wire(c), nil
}

// Delete removes a container, expired or not. A response that uses it goes on; what it leaves behind is dropped. The error
// is an *api.Error.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.publicError(s.o.Store.DeleteContainer(ctx, id), id)
}

// MaxFileBytes is the limit of an uploaded file.
func (s *Service) MaxFileBytes() int64 { return s.o.MaxFileBytes }

// An Upload is a file that a client sends.
type Upload struct {
	Name string // of the file; folders before it are ignored
	MIME string // what the client says that it is; "" = not known
	Data []byte
}

// Upload puts a file into /mnt/data, in the place of one of the same name. The error is an *api.Error.
func (s *Service) Upload(ctx context.Context, id string, u Upload) (*api.ContainerFile, error) {
	path, err := uploadPath(u.Name)
	if err != nil {
		return nil, err
	}
	if n := int64(len(u.Data)); n > s.o.MaxFileBytes {
		return nil, s.FileTooLarge()
	}
	change := store.Change{Put: []store.NewFile{{Data: u.Data, ContainerFile: store.ContainerFile{ID: s.newID("cfile"),
		Path: path, MIME: contentType(u.MIME, path, u.Data), Source: api.SourceUser}}}}
	if err := s.o.Store.ChangeContainer(ctx, id, change, s.limits); err != nil {
		return nil, s.publicError(err, id)
	}
	s.count(func(st *Stats) { st.Uploads++ })
	return wireFile(change.Put[0].ContainerFile, id), nil
}

// FileTooLarge is the error for an upload above MaxFileBytes, for those who need not read all of it to know.
func (s *Service) FileTooLarge() error {
	s.count(func(st *Stats) { st.Refused++ })
	return &api.Error{Status: 413, Type: "invalid_request_error", Code: "file_too_large", Param: "file",
		Message: fmt.Sprintf("The file is larger than %d bytes, the most that this server takes.", s.o.MaxFileBytes)}
}

// Files returns a page of the files in /mnt/data. The error is an *api.Error.
func (s *Service) Files(ctx context.Context, id string, page api.Page) (*api.List[api.ContainerFile], error) {
	found, more, err := s.o.Store.ContainerFiles(ctx, id, page, s.limits)
	if err != nil {
		return nil, s.pageError(err, page.After, id)
	}
	list := &api.List[api.ContainerFile]{Object: "list", Data: []api.ContainerFile{}, HasMore: more}
	for _, f := range found {
		list.Data = append(list.Data, *wireFile(f, id))
	}
	if n := len(list.Data); n > 0 {
		list.FirstID, list.LastID = &list.Data[0].ID, &list.Data[n-1].ID
	}
	return list, nil
}

// File returns a file. The error is an *api.Error.
func (s *Service) File(ctx context.Context, id, file string) (*api.ContainerFile, error) {
	f, err := s.o.Store.ContainerFile(ctx, id, file, s.limits)
	if err != nil {
		return nil, s.publicError(err, id)
	}
	return wireFile(f, id), nil
}

// A Content is a file with what is in it.
type Content struct {
	File api.ContainerFile
	MIME string // never empty
	Data []byte
}

// Content returns what is in a file. The error is an *api.Error.
func (s *Service) Content(ctx context.Context, id, file string) (*Content, error) {
	f, err := s.o.Store.ContainerFileData(ctx, id, file, s.limits)
	if err != nil {
		return nil, s.publicError(err, id)
	}
	return &Content{*wireFile(f.ContainerFile, id), contentType(f.MIME, f.Path, f.Data), f.Data}, nil
}

// DeleteFile removes a file. The error is an *api.Error.
func (s *Service) DeleteFile(ctx context.Context, id, file string) error {
	return s.publicError(s.o.Store.DeleteContainerFile(ctx, id, file, s.limits), id)
}

// Stats returns a copy of the counters.
func (s *Service) Stats() Stats {
	u, err := s.o.Store.ContainerUsage(context.Background())
	if err != nil {
		s.o.Logger.Warn("containers not counted", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Containers, out.Bytes = u.Containers, u.Bytes
	for _, l := range s.lanes {
		out.Waiting += len(l.queue)
	}
	out.Leased = len(s.lanes)
	return out
}

func (s *Service) count(add func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(&s.stats)
}

// wire is a container as clients see it.
func (s *Service) wire(c store.Container) *api.Container {
	status := api.ContainerRunning
	if c.Expired {
		status = api.ContainerExpired
	}
	return &api.Container{
		ID: c.ID, Object: "container", CreatedAt: c.Created.Unix(), Status: status, LastActiveAt: c.Active.Unix(),
		ExpiresAfter: api.ExpiresAfter{Anchor: "last_active_at", Minutes: int64(c.TTL / time.Minute)},
		Name:         c.Name, MemoryLimit: s.memory(c.MemoryLimit), NetworkPolicy: api.NetworkPolicy{Type: "disabled"},
	}
}

// memoryLimits are those that clients may ask for, in bytes.
var memoryLimits = map[string]int64{"1g": 1 << 30, "4g": 4 << 30}

// memory is what a container that asks for so much gets: less where interpreters may not have it. Those values are not among
// OpenAI's, but true.
func (s *Service) memory(asked string) string {
	mib := s.o.MaxMemory >> 20
	switch want := memoryLimits[asked]; {
	case want > 0 && s.o.MaxMemory >= want:
		return asked
	case mib >= 1024 && mib%1024 == 0:
		return fmt.Sprintf("%dg", mib/1024)
	default:
		return fmt.Sprintf("%dm", mib)
	}
}

func wireFile(f store.ContainerFile, container string) *api.ContainerFile {
	return &api.ContainerFile{ID: f.ID, Object: "container.file", CreatedAt: f.Created.Unix(), Bytes: f.Bytes,
		ContainerID: container, Path: f.Path, Source: f.Source}
}

// newID returns a new id like OpenAI's: a prefix that says what of, and 192 random bits.
func (s *Service) newID(prefix string) string {
	random := make([]byte, 24)
	s.o.Random(random)
	return prefix + "_" + hex.EncodeToString(random)
}

// pageError maps an error of listing what is in the container; id is "" for the list of containers.
func (s *Service) pageError(err error, after, id string) error {
	var missing *store.NotFoundError
	if errors.As(err, &missing) && missing.ID == after && after != id {
		return api.BadRequest("invalid_value", "after", "Invalid 'after': the list has no entry with id '%s'.", after)
	}
	return s.publicError(err, id)
}

// publicError maps what can go wrong with the container to what the client is told.
func (s *Service) publicError(err error, container string) error {
	var known *api.Error
	var missing *store.NotFoundError
	var expired *store.ExpiredError
	var limit *store.LimitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &missing) && missing.ID == container:
		return &api.Error{Status: 404, Type: "invalid_request_error", Code: "container_not_found", Param: "container_id",
			Message: fmt.Sprintf("Container with id '%s' not found.", container)}
	case errors.As(err, &missing):
		return &api.Error{Status: 404, Type: "invalid_request_error", Code: "container_file_not_found", Param: "file_id",
			Message: fmt.Sprintf("File with id '%s' not found in container '%s'.", missing.ID, container)}
	case errors.As(err, &expired):
		return &api.Error{Status: 404, Type: "invalid_request_error", Code: "container_expired", Param: "container_id",
			Message: fmt.Sprintf("Container with id '%s' has expired, and its files are gone. Create a new one.", container)}
	case errors.As(err, &limit):
		s.count(func(st *Stats) { st.Refused++ })
		return s.limitError(limit)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &api.Error{Status: 503, Type: "server_error", Code: "server_error", Message: "The request was given up."}
	}
	s.o.Logger.Error("container operation failed", "err", err)
	return &api.Error{Status: 500, Type: "server_error", Code: "server_error",
		Message: "The server had an error while it processed the request."}
}

// limitError tells a client which limit it has met, and what helps. It is a 400, since clients repeat a 429 by themselves.
func (s *Service) limitError(l *store.LimitError) error {
	switch l.Limit {
	case "containers":
		return api.BadRequest("container_limit_reached", "", "This server keeps at most %d containers at a time. "+
			"Delete one, or wait until one expires.", l.Max)
	case "files":
		return api.BadRequest("container_full", "", "A container has at most %d files, and this would make %d. Delete some.",
			l.Max, l.Want)
	case "container bytes":
		return api.BadRequest("container_full", "", "A container holds at most %d bytes, and this would make %d. Delete some files.",
			l.Max, l.Want)
	default:
		return api.BadRequest("container_storage_full", "", "All containers of this server together hold at most %d bytes, "+
			"and this would make %d. Delete containers, or wait until one expires.", l.Max, l.Want)
	}
}
