package simulator

import "strings"

// offered is the name of the first tool of a request that has one in nameOf's eyes.
// The tools that the provider runs have none.
func offered(tools any, nameOf func(tool any) string) string {
	for _, t := range asList(tools) {
		if name := nameOf(t); name != "" {
			return name
		}
	}
	return ""
}

func anthropicTool(t any) string {
	if kind := str(at(t, "type")); kind != "" && kind != "custom" {
		return ""
	}
	return str(at(t, "name"))
}

// codeExecution is Anthropic's own tool that needs a container.
func codeExecution(t any) string {
	if kind := str(at(t, "type")); strings.HasPrefix(kind, "code_execution") {
		return kind
	}
	return ""
}

func chatTool(t any) string { return str(at(t, "function", "name")) }

// functionTool is one of Responses or of Interactions.
func functionTool(t any) string {
	if at(t, "type") != "function" {
		return ""
	}
	return str(at(t, "name"))
}

func geminiTool(t any) string {
	return offered(at(t, "functionDeclarations"), func(f any) string { return str(at(f, "name")) })
}

// has reports whether one part of a content has that member, or that value of it if
// one is given.
func has(content any, member string, value ...any) bool {
	for _, p := range asList(content) {
		if v := at(p, member); v != nil && (len(value) == 0 || v == value[0]) {
			return true
		}
	}
	return false
}
