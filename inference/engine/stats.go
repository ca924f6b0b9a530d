package engine

import "time"

// Stats counts what an Engine has done since it started, and what it has now. It is a copy.
type Stats struct {
	Running int // sequences that have key/value memory
	Waiting int // sequences that do not

	Steps         uint64
	PrefillTokens uint64 // computed in steps beside the newest of each sequence: prompts, and again after preemptions
	DecodeTokens  uint64 // sampled
	CachedTokens  uint64 // of prompts, found in memory instead of computed
	Preemptions   uint64

	Admitted  uint64        // generations that began to run
	QueueTime time.Duration // sum over the admitted of the time they waited
	StepTime  time.Duration // sum over Steps of the time the Runner took

	Stopped   uint64 // generations ended by a stop token
	Exhausted uint64 // by the largest number of tokens
	Cancelled uint64
	Failed    uint64

	Groups []GroupStats // one per KV group
}

// GroupStats describes the blocks of a KV group.
type GroupStats struct {
	Used   int // by running sequences
	Cached int // not used, but kept for later prompts
	Total  int // the rest is free
}

// ended counts one ended generation.
func (s *Stats) ended(r Reason) {
	switch r {
	case StopToken:
		s.Stopped++
	case MaxTokens:
		s.Exhausted++
	case Cancelled:
		s.Cancelled++
	case Failed:
		s.Failed++
	default:
		panic("unknown reason " + r.String())
	}
}
