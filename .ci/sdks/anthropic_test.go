package sdks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/anthropics/anthropic-sdk-go/toolrunner"
)

const anthropicModel = "claude-opus-5-5"

func anthropicClient(url string, h *http.Client) anthropic.Client {
	return anthropic.NewClient(option.WithBaseURL(url), option.WithAPIKey(apiKey), option.WithHTTPClient(h))
}

func TestAnthropicMessages(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for _, tool := range []bool{false, true} {
			messages(stream, tool).run(t)
		}
	}
}

func messages(stream, tool bool) *script {
	return &script{
		name: called("messages", stream, tool), tool: tool, turn: requests("POST /v1/messages", tool),
		dial: func(url string, h *http.Client) (begin, error) {
			client := anthropicClient(url, h)
			create := func(ctx context.Context, p anthropic.MessageNewParams) (*anthropic.Message, error) {
				if !stream {
					return client.Messages.New(ctx, p)
				}
				var m anthropic.Message
				s := client.Messages.NewStreaming(ctx, p)
				for s.Next() {
					if err := m.Accumulate(s.Current()); err != nil {
						return nil, err
					}
				}
				return &m, errors.Join(s.Err(), s.Close())
			}
			return func(context.Context) (say, error) {
				p := anthropic.MessageNewParams{Model: anthropicModel, MaxTokens: 1024, System: []anthropic.TextBlockParam{{Text: system}}}
				if tool {
					p.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{
						Name: "look", InputSchema: anthropic.ToolInputSchemaParam{Properties: parameters["properties"], Required: []string{"query"}},
					}}}
				}
				return func(ctx context.Context, text string) (string, error) {
					p.Messages = append(p.Messages, anthropic.NewUserMessage(anthropic.NewTextBlock(text)))
					for range 2 {
						m, err := create(ctx, p)
						if err != nil {
							return "", err
						}
						p.Messages = append(p.Messages, m.ToParam())
						var results []anthropic.ContentBlockParamUnion
						words := ""
						for _, block := range m.Content {
							switch block := block.AsAny().(type) {
							case anthropic.TextBlock:
								words += block.Text
							case anthropic.ToolUseBlock:
								result, err := lookJSON(ctx, block.Input)
								if err != nil {
									return "", err
								}
								results = append(results, anthropic.NewToolResultBlock(block.ID, result, false))
							default:
								return "", fmt.Errorf("the answer has a block of the type %T, want text or a tool call", block)
							}
						}
						if results == nil {
							return words, nil
						}
						p.Messages = append(p.Messages, anthropic.NewUserMessage(results...))
					}
					return "", errCallsAgain
				}, nil
			}, nil
		},
	}
}

func TestAnthropicToolRunner(t *testing.T) {
	for _, stream := range []bool{false, true} {
		runner(stream).run(t)
	}
}

// runner is a script in which the SDK's tool runner calls the tool.
func runner(stream bool) *script {
	return &script{
		name: called("tool runner", stream, true), tool: true, turn: requests("POST /v1/messages?beta=true", true),
		dial: func(url string, h *http.Client) (begin, error) {
			client := anthropicClient(url, h)
			type question struct {
				Query string `json:"query" jsonschema:"required"`
			}
			tool, err := toolrunner.NewBetaToolFromJSONSchema("look", "Looks things up.", func(ctx context.Context, q question) (anthropic.BetaToolResultBlockParamContentUnion, error) {
				found, err := look(ctx, q.Query)
				return anthropic.BetaToolResultBlockParamContentUnion{OfText: &anthropic.BetaTextBlockParam{Text: found}}, err
			})
			if err != nil {
				return nil, err
			}
			tools := []anthropic.BetaTool{tool}
			return func(context.Context) (say, error) {
				var history []anthropic.BetaMessageParam
				return func(ctx context.Context, text string) (string, error) {
					p := anthropic.BetaToolRunnerParams{MaxIterations: 4, BetaMessageNewParams: anthropic.BetaMessageNewParams{
						Model: anthropicModel, MaxTokens: 1024, System: []anthropic.BetaTextBlockParam{{Text: system}},
						Messages: append(history, anthropic.NewBetaUserMessage(anthropic.NewBetaTextBlock(text))),
					}}
					var m *anthropic.BetaMessage
					if stream {
						r := client.Beta.Messages.NewToolRunnerStreaming(tools, p)
						for events, err := range r.AllStreaming(ctx) {
							if err != nil {
								return "", err
							}
							for _, err := range events {
								if err != nil {
									return "", err
								}
							}
						}
						m, history = r.LastMessage(), r.Messages()
					} else {
						r := client.Beta.Messages.NewToolRunner(tools, p)
						if _, err := r.RunToCompletion(ctx); err != nil {
							return "", err
						}
						m, history = r.LastMessage(), r.Messages()
					}
					words := ""
					for _, block := range m.Content {
						words += block.Text
					}
					return words, nil
				}, nil
			}, nil
		},
	}
}
