package content

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDsThatMachinesMake(t *testing.T) {
	for _, id := range []string{
		"8a218e62-bb55-446a-bc6c-b288fc65f5b5", "01a20f77-a6b2-7273-bceb-7ef097d23585", "session_01a20f77-a6b2-7273-bceb-7ef097d23585",
		"11111111-2222-3333-4444-555555555555", "d41d8cd98f00b204e9800998ecf8427e", "ses_5d1f0a9b3ffe7cUq2KxZ81mPaB",
		"toolu_01A09q90qw90lq917835lq9", "call_rsMgIgFD6qElK9JgNMKVPei5", "fc_8a5f917e85a4c354fc760a78728a89fc8e9ec68b967a9a11",
		"msg_01a20f77-b3c0-76c1-bcbe-3d702007bb11", "chatcmpl-tool-9f86d081884c7d659a2feaa0c55ad015", "V1StGXR8_Z5jdHi6B-myT",
		"read_file-1763999999999-3f9a2b1c4d",
	} {
		require.True(t, IsMade(id), id)
	}
	for _, id := range []string{
		"", "call_0", "functions.bash:1", "run_shell_command_1763999999999_0", "support-bot", "support-bot-v2", "acme-prod-2026-11-24",
		"2026-11-24T12:30:00Z", "mySupportBotForProduction", "gpt-4o-mini", "tenant:acme:support-v1", "user_12345678", "1763999999999123456",
	} {
		require.False(t, IsMade(id), id)
	}
}
