package sample

// Stops finds stop strings in text that arrives in pieces. What it emits does not depend on how the text was cut. It
// holds back only what could still become a stop string, and takes linear time. One per generation, not for concurrent
// use.
//
// The text ends where the first stop string is complete; of several that are complete there, the longest counts.
type Stops struct {
	patterns []pattern
	held     string // a prefix of some pattern that the text so far ends with
	stopped  bool
}

// A pattern is one stop string as a Knuth-Morris-Pratt automaton.
type pattern struct {
	text  string
	fails []int // fails[n] is the longest proper border of text[:n], for n >= 1
	match int   // length of the longest prefix of text that the input ends with
}

// NewStops returns a matcher for the stop strings. Empty strings are ignored; without any, all text passes.
func NewStops(stop []string) *Stops {
	s := &Stops{}
	for _, text := range stop {
		if text != "" {
			s.patterns = append(s.patterns, pattern{text: text, fails: borders(text)})
		}
	}
	return s
}

// Push takes the next piece of text and returns what is certain to come before any stop string, and whether one is
// complete. The stop string itself is never emitted. After that Push returns "", true.
func (s *Stops) Push(text string) (emit string, stopped bool) {
	if s.stopped {
		return "", true
	}
	all := s.held + text
	hold := len(s.held)
	for i := len(s.held); i < len(all); i++ {
		complete := 0
		hold = 0
		for j := range s.patterns {
			p := &s.patterns[j]
			p.push(all[i])
			hold = max(hold, p.match)
			if p.match == len(p.text) {
				complete = max(complete, p.match)
			}
		}
		if complete > 0 {
			s.held, s.stopped = "", true
			return all[:i+1-complete], true
		}
	}
	s.held = all[len(all)-hold:]
	return all[:len(all)-hold], false
}

// Flush returns what was held back, to be called when the text has ended; "" after a stop string. The matcher then
// starts anew for a text that follows, unless it has stopped.
func (s *Stops) Flush() string {
	rest := s.held
	s.held = ""
	for i := range s.patterns {
		s.patterns[i].match = 0
	}
	return rest
}

func (p *pattern) push(c byte) {
	for p.match > 0 && p.text[p.match] != c {
		p.match = p.fails[p.match]
	}
	if p.text[p.match] == c {
		p.match++
	}
}

func borders(text string) []int {
	fails := make([]int, len(text)+1)
	for n, k := 1, 0; n < len(text); n++ {
		for k > 0 && text[k] != text[n] {
			k = fails[k]
		}
		if text[k] == text[n] {
			k++
		}
		fails[n+1] = k
	}
	return fails
}
