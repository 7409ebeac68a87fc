package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

// routes has a handler for each path and method. Any other request gets "not found".
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"HEAD /{$}": func(http.ResponseWriter, *http.Request) {}, // how clients check whether a server is there
		"/":         s.noPath,

		"POST /v1/messages":              s.generate(&messages),
		"POST /v1/messages/count_tokens": s.resource(&messages, s.countMessage),

		"POST /v1/chat/completions": s.generate(&chat),
		"POST /v1/embeddings":       s.resource(&chat, s.embed),
		"GET /v1/models":            s.listed,

		"POST /v1/responses":                s.generate(&responses),
		"GET /v1/responses/{id}":            s.resource(&responses, getResponse),
		"DELETE /v1/responses/{id}":         s.resource(&responses, deleteResponse),
		"POST /v1/conversations":            s.resource(&responses, createConversation),
		"GET /v1/conversations/{id}":        s.resource(&responses, conversation(showConversation)),
		"DELETE /v1/conversations/{id}":     s.resource(&responses, conversation(deleteConversation)),
		"GET /v1/conversations/{id}/items":  s.resource(&responses, conversation(listItems)),
		"POST /v1/conversations/{id}/items": s.resource(&responses, conversation(addItems)),

		"GET /v1beta/models":                 s.resource(&gemini, s.listGeminiModels),
		"POST /v1beta/models/{call...}":      s.geminiMethod,
		"POST /v1beta/cachedContents":        s.resource(&gemini, s.createCached),
		"GET /v1beta/cachedContents/{id}":    s.resource(&gemini, cached(showCached)),
		"PATCH /v1beta/cachedContents/{id}":  s.resource(&gemini, cached(patchCached)),
		"DELETE /v1beta/cachedContents/{id}": s.resource(&gemini, cached(deleteCached)),
		"POST /v1beta/interactions":          s.generate(&interactions),
	} {
		mux.HandleFunc(pattern, h)
	}
	return mux
}

// noPath answers in the form of the API that the path looks like.
func (s *Server) noPath(w http.ResponseWriter, r *http.Request) {
	d := &chat
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1beta/"):
		d = &gemini
	case strings.HasPrefix(r.URL.Path, "/v1/messages"), r.Header.Get("Anthropic-Version") != "":
		d = &messages
	}
	refuse(w, d, &refusal{status: http.StatusNotFound, message: "Invalid URL (" + r.Method + " " + r.URL.Path + ")"})
}

// listed is /v1/models of the provider that the client expects here.
func (s *Server) listed(w http.ResponseWriter, r *http.Request) {
	d := &chat
	if r.Header.Get("Anthropic-Version") != "" {
		d = &messages
	}
	s.resource(d, s.listModels)(w, r)
}

// inquiry is a request that no model answers.
type inquiry struct {
	request *http.Request
	id      string // the id in the path
	body    object // of POST and PATCH
	account *account
}

// resource answers inquiries of d's API. The lock is held while the answer is made.
func (s *Server) resource(d *dialect, answer func(*inquiry) (any, *refusal)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		credential, _, ok := s.admit(w, r, d)
		if !ok {
			return
		}
		c := &inquiry{request: r, id: r.PathValue("id")}
		if r.Method == http.MethodPost || r.Method == http.MethodPatch {
			body, err := readBody(r)
			if err != nil {
				refuse(w, d, &refusal{status: http.StatusBadRequest, message: err.Error()})
				return
			}
			c.body = body
		}
		s.mu.Lock()
		c.account = s.account(credential)
		v, refused := answer(c)
		text, err := json.Marshal(v)
		s.mu.Unlock()
		switch {
		case refused != nil:
			refuse(w, d, refused)
		case err != nil:
			refuse(w, d, &refusal{status: http.StatusInternalServerError, message: err.Error()})
		default:
			answerJSON(w, http.StatusOK, json.RawMessage(text))
		}
	}
}

func refuse(w http.ResponseWriter, d *dialect, r *refusal) {
	answerJSON(w, r.status, d.failure(r))
}
