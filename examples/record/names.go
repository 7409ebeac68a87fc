package record

import (
	"strings"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// set makes a set of words that are separated by blanks.
func set(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

// members are the names of members that stay: those of the APIs. Other names may tell
// something, such as those of a tool's arguments.
var members = func() map[string]bool {
	out := set(`
		model messages contents input prompt request system instructions systemInstruction system_instruction
		tools tool_choice functions generationConfig generation_config stream max_tokens max_output_tokens temperature
		role type content parts text refusal id call_id tool_use_id tool_call_id name args arguments
		action output result response tool_calls function custom functionCall function_call
		functionResponse function_response thought source image_url file_id file file_data fileData
		inlineData inline_data input_audio audio image video_url data uri url detail
		cache_control signature thoughtSignature thought_signature status annotations encrypted_content
		logprobs is_error summary thinking reasoning ttl media_type mimeType mime_type
		metadata client_metadata parameters input_schema inputSchema functionDeclarations
		x-codex-turn-metadata`)
	for _, s := range sessionid.Signals() {
		if inBody(s.Kind) {
			for _, name := range strings.Split(s.Name, ".") {
				out[name] = true
			}
		}
	}
	// These occur in JSON inside a string.
	for _, name := range []string{"session_id", "forked_from_thread_id", "request_kind"} {
		out[name] = true
	}
	return out
}()

// idMembers are the names of members whose value is an id, or a name that is like one. The
// value keeps its form.
var idMembers = func() map[string]bool {
	out := set(`id call_id tool_use_id tool_call_id name model file_id forked_from_thread_id x-codex-turn-metadata`)
	for _, s := range sessionid.Signals() {
		if inBody(s.Kind) {
			out[s.Name[strings.LastIndexByte(s.Name, '.')+1:]] = true
		}
	}
	return out
}()

// inBody reports whether signals of a kind are members of the body.
func inBody(k sessionid.Kind) bool {
	switch k {
	case sessionid.KindNativeBody, sessionid.KindBody, sessionid.KindCacheKey, sessionid.KindUser, sessionid.KindOwner:
		return true
	}
	return false
}

// headers are the headers that name a session, or are needed to find one.
var headers = func() map[string]bool {
	out := map[string]bool{}
	for _, s := range sessionid.Signals() {
		if s.Kind != sessionid.KindContent && !inBody(s.Kind) && !strings.Contains(s.Name, ".") {
			out[s.Name] = true
		}
	}
	return out
}()

// agents are beginnings of User-Agents. Some signals count only for a client with one of them.
var agents = []string{"GitHubCopilotChat/", "KimiCLI/"}

// wordMembers are the names of members whose value is one of a few words of an API.
var wordMembers = set(`role type status request_kind object`)

// apiWords are those words. Others become digests.
var apiWords = set(`
	user assistant system developer model tool function
	text message input_text output_text tool_use tool_result server_tool_use mcp_tool_use function_call
	function_call_output function_result functionCall functionResponse custom_tool_call custom_tool_call_output
	local_shell_call web_search_call image image_url input_image input_file input_audio file document
	thinking redacted_thinking reasoning thought refusal compaction compaction_trigger item_reference
	user_input model_output completed in_progress incomplete ephemeral base64 url custom object
	string number integer boolean array null adaptive enabled disabled turn
	summary_text reasoning_text additional_tools tool_reference`)

// idWords are words inside ids that stay, because they say what kind of id it is. Some say
// whose id it is: such an id stands for many conversations.
var idWords = set(`
	user usr uid u customer client employee member tenant org organization account acct auth0
	team workspace project app device machine host prod staging dev
	prompt system template hash sha sha1 sha256 md5
	agents sdk session conversation group run
	toolu call msg resp conv cntr fc rs ses srvtoolu chatcmpl ctc thread
	cachedContents projects locations functions`)

// pathWords are parts of paths that stay.
var pathWords = set(`
	v1 v1beta v1beta1 v1internal messages chat completions responses conversations items models embeddings
	count_tokens input_tokens generateContent streamGenerateContent countTokens embedContent interactions
	containers cachedContents projects locations publishers google batches files api openai compact backend-api codex`)

// openings are the beginnings of texts that clients put in place of earlier messages, or move
// from message to message. Package sessionid knows them, and no user has written them.
var openings = []string{
	"This session is being continued from a previous",
	"Another language model started to solve this",
	"What did we do so far?",
	"Got it. Thanks for the additional context!",
	"Here is a summary of the conversation",
	"Summary of the conversation", "Conversation summary", "<summary>", "<conversation_summary>",
}

// dateReminder is the beginning of Qwen Code's reminder of the date, which that client moves.
const dateReminder = "<system-reminder>\nThe current date is"
