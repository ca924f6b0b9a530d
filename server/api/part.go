package api

import "encoding/json"

// A Part is one element of an item's content. Its variants are InputText, OutputText, ReasoningText, SummaryText,
// Refusal, InputImage, InputFile and, for every other type, RawPart.
type Part interface {
	part()
}

// InputText is text that the client sends.
type InputText struct {
	Text string `json:"text"`
}

// OutputText is text that the model wrote for the user.
type OutputText struct {
	Text        string            `json:"text"`
	Annotations []json.RawMessage `json:"annotations"`
	Logprobs    []Logprob         `json:"logprobs"`
}

// ReasoningText is a piece of chain of thought.
type ReasoningText struct {
	Text string `json:"text"`
}

// SummaryText is a piece of a reasoning item's summary.
type SummaryText struct {
	Text string `json:"text"`
}

// Refusal is the model's explanation why it does not answer.
type Refusal struct {
	Refusal string `json:"refusal"`
}

// An InputImage is an image by URL (also data:) or by the id of an uploaded file.
type InputImage struct {
	ImageURL string `json:"image_url,omitempty"`
	FileID   string `json:"file_id,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// An InputFile is a file by id, by URL or with its data.
type InputFile struct {
	FileID   string `json:"file_id,omitempty"`
	FileURL  string `json:"file_url,omitempty"`
	Filename string `json:"filename,omitempty"`
	FileData string `json:"file_data,omitempty"`
}

// A RawPart is a content part of a type that this package does not know, kept as it was sent.
type RawPart struct {
	Type string
	JSON json.RawMessage // the whole part
}

// A Logprob is a sampled token with its natural log-probability and the likeliest alternatives.
type Logprob struct {
	Token       string       `json:"token"`
	Logprob     float64      `json:"logprob"`
	Bytes       []int        `json:"bytes"` // the token's bytes as numbers; a token can be a part of a character
	TopLogprobs []TopLogprob `json:"top_logprobs"`
}

// A TopLogprob is one alternative to a sampled token.
type TopLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

func (InputText) part()     {}
func (OutputText) part()    {}
func (ReasoningText) part() {}
func (SummaryText) part()   {}
func (Refusal) part()       {}
func (InputImage) part()    {}
func (InputFile) part()     {}
func (RawPart) part()       {}

// MarshalJSON writes the part with its type.
func (p InputText) MarshalJSON() ([]byte, error) {
	type plain InputText
	return tagged("input_text", plain(p))
}

// MarshalJSON writes the part with its type; lists are written even when they are empty, as clients expect.
func (p OutputText) MarshalJSON() ([]byte, error) {
	type plain OutputText
	if p.Annotations == nil {
		p.Annotations = []json.RawMessage{}
	}
	if p.Logprobs == nil {
		p.Logprobs = []Logprob{}
	}
	return tagged("output_text", plain(p))
}

// MarshalJSON writes the part with its type.
func (p ReasoningText) MarshalJSON() ([]byte, error) {
	type plain ReasoningText
	return tagged("reasoning_text", plain(p))
}

// MarshalJSON writes the part with its type.
func (p SummaryText) MarshalJSON() ([]byte, error) {
	type plain SummaryText
	return tagged("summary_text", plain(p))
}

// MarshalJSON writes the part with its type.
func (p Refusal) MarshalJSON() ([]byte, error) {
	type plain Refusal
	return tagged("refusal", plain(p))
}

// MarshalJSON writes the part with its type.
func (p InputImage) MarshalJSON() ([]byte, error) {
	type plain InputImage
	return tagged("input_image", plain(p))
}

// MarshalJSON writes the part with its type.
func (p InputFile) MarshalJSON() ([]byte, error) {
	type plain InputFile
	return tagged("input_file", plain(p))
}

// MarshalJSON writes the part as it was sent.
func (p RawPart) MarshalJSON() ([]byte, error) { return p.JSON, nil }
