package sdks

import (
	"context"
	"net/http"
	"testing"

	"google.golang.org/genai"
)

const geminiModel = "gemini-2.5-flash"

func TestGenAI(t *testing.T) {
	for _, helper := range []bool{false, true} {
		for _, stream := range []bool{false, true} {
			for _, tool := range []bool{false, true} {
				generate(helper, stream, tool).run(t)
			}
		}
	}
}

// generate is a script that keeps the history itself. With helper, the SDK's chat helper keeps it.
func generate(helper, stream, tool bool) *script {
	name, request := "generateContent", "POST /v1beta/models/"+geminiModel+":generateContent"
	if helper {
		name = "chat helper"
	}
	if stream {
		request = "POST /v1beta/models/" + geminiModel + ":streamGenerateContent?alt=sse"
	}
	return &script{
		name: called(name, stream, tool), tool: tool, turn: requests(request, tool),
		dial: func(url string, h *http.Client) (begin, error) {
			client, err := genai.NewClient(context.Background(), &genai.ClientConfig{
				APIKey: apiKey, Backend: genai.BackendGeminiAPI, HTTPClient: h, HTTPOptions: genai.HTTPOptions{BaseURL: url},
			})
			if err != nil {
				return nil, err
			}
			config := &genai.GenerateContentConfig{SystemInstruction: genai.NewContentFromText(system, genai.RoleUser)}
			if tool {
				config.Tools = []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{{Name: "look", ParametersJsonSchema: parameters}}}}
			}
			return func(ctx context.Context) (say, error) {
				send, err := sender(ctx, client, config, helper, stream)
				if err != nil {
					return nil, err
				}
				return func(ctx context.Context, text string) (string, error) {
					parts := []*genai.Part{genai.NewPartFromText(text)}
					for range 2 {
						said, err := send(ctx, parts)
						if err != nil {
							return "", err
						}
						words := ""
						parts = nil
						for _, part := range said {
							words += part.Text
							if call := part.FunctionCall; call != nil {
								query, _ := call.Args["query"].(string)
								found, err := look(ctx, query)
								if err != nil {
									return "", err
								}
								parts = append(parts, genai.NewPartFromFunctionResponse(call.Name, map[string]any{"output": found}))
							}
						}
						if parts == nil {
							return words, nil
						}
					}
					return "", errCallsAgain
				}, nil
			}, nil
		},
	}
}

// sender returns a function that sends the next parts of the user's side, and returns the parts
// of the model's answer.
func sender(ctx context.Context, client *genai.Client, config *genai.GenerateContentConfig, helper, stream bool) (func(context.Context, []*genai.Part) ([]*genai.Part, error), error) {
	chat, err := client.Chats.Create(ctx, geminiModel, config, nil)
	if err != nil {
		return nil, err
	}
	var history []*genai.Content
	return func(ctx context.Context, parts []*genai.Part) (said []*genai.Part, err error) {
		take := func(r *genai.GenerateContentResponse) {
			for _, c := range r.Candidates {
				if c.Content != nil {
					said = append(said, c.Content.Parts...)
				}
			}
		}
		if helper && !stream {
			r, err := chat.Send(ctx, parts...)
			if err != nil {
				return nil, err
			}
			take(r)
			return said, nil
		}
		if helper {
			for r, err := range chat.SendStream(ctx, parts...) {
				if err != nil {
					return nil, err
				}
				take(r)
			}
			return said, nil
		}
		history = append(history, genai.NewContentFromParts(parts, genai.RoleUser))
		if stream {
			for r, err := range client.Models.GenerateContentStream(ctx, geminiModel, history, config) {
				if err != nil {
					return nil, err
				}
				take(r)
			}
		} else {
			r, err := client.Models.GenerateContent(ctx, geminiModel, history, config)
			if err != nil {
				return nil, err
			}
			take(r)
		}
		history = append(history, genai.NewContentFromParts(said, genai.RoleModel))
		return said, nil
	}, nil
}
