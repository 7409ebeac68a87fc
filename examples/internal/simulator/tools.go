package simulator

import "strings"

// offered returns the name of a request's first tool that nameOf has a name for. The tools
// that the provider runs have none.
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

// functionTool returns the name of a function tool of Responses or of Interactions.
func functionTool(t any) string {
	if at(t, "type") != "function" {
		return ""
	}
	return str(at(t, "name"))
}

func geminiTool(t any) string {
	return offered(at(t, "functionDeclarations"), func(f any) string { return str(at(f, "name")) })
}

// has reports whether a part of a content has that member, with that value if one is given.
func has(content any, member string, value ...any) bool {
	for _, p := range asList(content) {
		if v := at(p, member); v != nil && (len(value) == 0 || v == value[0]) {
			return true
		}
	}
	return false
}
