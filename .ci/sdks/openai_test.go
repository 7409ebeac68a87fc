package sdks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

const openAIModel = "gpt-5.2"

func openAIClient(url string, h *http.Client) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey(apiKey), option.WithHTTPClient(h))
}

// parameters is the JSON schema of look's arguments.
var parameters = map[string]any{
	"type": "object", "required": []string{"query"}, "additionalProperties": false,
	"properties": map[string]any{"query": map[string]any{"type": "string"}},
}

// lookJSON calls look with the arguments in JSON, as a model writes them.
func lookJSON(ctx context.Context, arguments []byte) (string, error) {
	var a struct{ Query string }
	if err := json.Unmarshal(arguments, &a); err != nil {
		return "", fmt.Errorf("the tool's arguments %q: %w", arguments, err)
	}
	return look(ctx, a.Query)
}

var errCallsAgain = errors.New("the model has answered a tool's result with another call, want words")

func TestOpenAIChatCompletions(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for _, tool := range []bool{false, true} {
			chat(stream, tool).run(t)
		}
	}
}

func chat(stream, tool bool) *script {
	return &script{
		name: called("chat completions", stream, tool), tool: tool,
		turn: requests("POST /v1/chat/completions", tool),
		dial: func(url string, h *http.Client) (begin, error) {
			client := openAIClient(url, h)
			complete := func(ctx context.Context, p openai.ChatCompletionNewParams) (*openai.ChatCompletion, error) {
				if !stream {
					return client.Chat.Completions.New(ctx, p)
				}
				var all openai.ChatCompletionAccumulator
				s := client.Chat.Completions.NewStreaming(ctx, p)
				for s.Next() {
					if !all.AddChunk(s.Current()) {
						return nil, errors.New("the SDK says that a chunk belongs to another answer")
					}
				}
				return &all.ChatCompletion, errors.Join(s.Err(), s.Close())
			}
			return func(context.Context) (say, error) {
				p := openai.ChatCompletionNewParams{Model: openAIModel, Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage(system)}}
				if tool {
					p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "look", Parameters: parameters})}
				}
				return func(ctx context.Context, text string) (string, error) {
					p.Messages = append(p.Messages, openai.UserMessage(text))
					for range 2 {
						answer, err := complete(ctx, p)
						if err != nil {
							return "", err
						}
						m := answer.Choices[0].Message
						p.Messages = append(p.Messages, m.ToParam())
						if len(m.ToolCalls) == 0 {
							return m.Content, nil
						}
						for _, call := range m.ToolCalls {
							result, err := lookJSON(ctx, []byte(call.Function.Arguments))
							if err != nil {
								return "", err
							}
							p.Messages = append(p.Messages, openai.ToolMessage(result, call.ID))
						}
					}
					return "", errCallsAgain
				}, nil
			}, nil
		},
	}
}

// A client of the Responses API sends the whole history, or names the history that the provider
// has stored.
func TestOpenAIResponses(t *testing.T) {
	for _, keeps := range []string{"", "previous_response_id", "conversation"} {
		for _, stream := range []bool{false, true} {
			for _, tool := range []bool{false, true} {
				respond(keeps, stream, tool).run(t)
			}
		}
	}
}

func respond(keeps string, stream, tool bool) *script {
	s := &script{name: called("responses", stream, tool), tool: tool, turn: requests("POST /v1/responses", tool)}
	switch keeps {
	case "previous_response_id":
		s.name, s.outcome = called("responses, previous_response_id", stream, tool), firstThen("new", "owner")
	case "conversation":
		s.name, s.outcome = called("responses, conversation", stream, tool), firstThen("none", "owner")
		s.opens = []string{"POST /v1/conversations"}
	}
	s.dial = func(url string, h *http.Client) (begin, error) {
		client := openAIClient(url, h)
		create := func(ctx context.Context, p responses.ResponseNewParams) (*responses.Response, error) {
			if !stream {
				return client.Responses.New(ctx, p)
			}
			var last *responses.Response
			s := client.Responses.NewStreaming(ctx, p)
			for s.Next() {
				if done, ok := s.Current().AsAny().(responses.ResponseCompletedEvent); ok {
					last = &done.Response
				}
			}
			err := errors.Join(s.Err(), s.Close())
			if err == nil && last == nil {
				err = errors.New("the stream has ended without a completed response")
			}
			return last, err
		}
		return func(ctx context.Context) (say, error) {
			p := responses.ResponseNewParams{Model: openAIModel, Instructions: openai.String(system)}
			if tool {
				p.Tools = []responses.ToolUnionParam{responses.ToolParamOfFunction("look", parameters, true)}
			}
			if keeps == "conversation" {
				made, err := client.Conversations.New(ctx, conversations.ConversationNewParams{})
				if err != nil {
					return nil, err
				}
				p.Conversation.OfString = openai.String(made.ID)
			}
			if keeps == "" {
				p.Store = openai.Bool(false)
			}
			return func(ctx context.Context, text string) (string, error) {
				input := &p.Input.OfInputItemList
				add := func(item responses.ResponseInputItemUnionParam) {
					*input = append(*input, item)
				}
				add(responses.ResponseInputItemParamOfMessage(text, responses.EasyInputMessageRoleUser))
				for range 2 {
					answer, err := create(ctx, p)
					if err != nil {
						return "", err
					}
					if keeps != "" {
						*input = nil
					}
					if keeps == "previous_response_id" {
						p.PreviousResponseID = openai.String(answer.ID)
					}
					calls := 0
					for _, item := range answer.Output {
						switch item := item.AsAny().(type) {
						case responses.ResponseOutputMessage:
							if keeps == "" {
								said := item.ToParam()
								add(responses.ResponseInputItemUnionParam{OfOutputMessage: &said})
							}
						case responses.ResponseFunctionToolCall:
							calls++
							if keeps == "" {
								call := item.ToParam()
								add(responses.ResponseInputItemUnionParam{OfFunctionCall: &call})
							}
							result, err := lookJSON(ctx, []byte(item.Arguments))
							if err != nil {
								return "", err
							}
							output := responses.ResponseInputItemParamOfFunctionCallOutput(result)
							output.OfFunctionCallOutput.CallID = openai.String(item.CallID)
							add(output)
						default:
							return "", fmt.Errorf("the output has an item of the type %T, want a message or a function call", item)
						}
					}
					if calls == 0 {
						return answer.OutputText(), nil
					}
				}
				return "", errCallsAgain
			}, nil
		}, nil
	}
	return s
}
