package httpd

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
	"chorale/server/responses"
)

// modelObject is an entry of OpenAI's list.
type modelObject struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	OwnedBy     string `json:"owned_by"`
	Description string `json:"description,omitempty"`
}

// codexModel is an entry of the catalogue that the Codex CLI decodes from the same answer (its openai_models.rs). It
// refuses the whole list when a field is missing.
type codexModel struct {
	Slug                       string           `json:"slug"`
	DisplayName                string           `json:"display_name"`
	Description                string           `json:"description"`
	DefaultReasoningLevel      string           `json:"default_reasoning_level"`
	SupportedReasoningLevels   []reasoningLevel `json:"supported_reasoning_levels"`
	ShellType                  string           `json:"shell_type"`
	Visibility                 string           `json:"visibility"`
	SupportedInAPI             bool             `json:"supported_in_api"`
	Priority                   int              `json:"priority"`
	BaseInstructions           string           `json:"base_instructions"`
	SupportsReasoningSummaries bool             `json:"supports_reasoning_summaries"`
	SupportVerbosity           bool             `json:"support_verbosity"`
	ApplyPatchToolType         *string          `json:"apply_patch_tool_type"`
	TruncationPolicy           truncationPolicy `json:"truncation_policy"`
	SupportsParallelToolCalls  bool             `json:"supports_parallel_tool_calls"`
	ContextWindow              int              `json:"context_window"`
	ExperimentalSupportedTools []string         `json:"experimental_supported_tools"`
	InputModalities            []string         `json:"input_modalities"`
}

type reasoningLevel struct {
	Effort      string `json:"effort"`
	Description string `json:"description"`
}

type truncationPolicy struct {
	Mode  string `json:"mode"`
	Limit int    `json:"limit"`
}

// codexInstructions stand where Codex has its own long ones for the models that it knows.
const codexInstructions = "You are a coding agent in the user's terminal. Work in the current directory with the tools you are given. " +
	"Read before you change, keep going until the task is done, check your work, and then say briefly what you changed."

// codexToolOutputTokens is where Codex cuts a tool's output, as it does for OpenAI's own models.
const codexToolOutputTokens = 10_000

func (s *Server) listModels(c echo.Context) error {
	return s.writeJSON(c, http.StatusOK, map[string]any{
		"object": "list", "data": []modelObject{s.modelObject()}, "models": []codexModel{s.codexModel()},
	})
}

func (s *Server) getModel(c echo.Context) error {
	m := s.o.Responses.Model()
	id, err := url.PathUnescape(c.Param("*"))
	if err != nil || id != m.ID && !slices.Contains(m.Aliases, id) {
		e := api.BadRequest("model_not_found", "model", "The model '%s' does not exist; this server has '%s'.", id, m.ID)
		e.Status = http.StatusNotFound
		return e
	}
	return s.writeJSON(c, http.StatusOK, s.modelObject())
}

func (s *Server) modelObject() modelObject {
	m := s.o.Responses.Model()
	return modelObject{ID: m.ID, Object: "model", Created: s.started.Unix(), OwnedBy: "chorale", Description: describe(m)}
}

func describe(m responses.ModelInfo) string {
	if m.Demo {
		return "A small built-in demonstration model: it shows that everything works and knows next to nothing."
	}
	return ""
}

func (s *Server) codexModel() codexModel {
	m := s.o.Responses.Model()
	return codexModel{
		Slug: m.ID, DisplayName: m.ID, Description: describe(m), DefaultReasoningLevel: "medium",
		SupportedReasoningLevels: []reasoningLevel{
			{"low", "answers fast"}, {"medium", "balances speed and depth"}, {"high", "thinks longest"},
		},
		ShellType: "shell_command", Visibility: "list", SupportedInAPI: true,
		BaseInstructions:           codexInstructions,
		SupportsReasoningSummaries: true, // without it Codex sends no reasoning effort either
		TruncationPolicy:           truncationPolicy{"tokens", codexToolOutputTokens},
		ContextWindow:              m.MaxContext,
		ExperimentalSupportedTools: []string{}, InputModalities: []string{"text"},
	}
}
