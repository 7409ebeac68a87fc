// Command caddy is Caddy with the modules of package llmsession.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	// The modules that the Caddyfile needs. For all of Caddy import modules/standard instead.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	_ "github.com/llmaffinity/llmaffinity/examples/caddy/llmsession"
)

func main() { caddycmd.Main() }
