// Package cachetest checks a [cache.Store] against its contract, for authors of a store, for
// example over a shared database. A store says which auth a session is bound to: an auth is
// what the gateway chooses among, such as a credential, an account or a replica.
//
//	func TestStore(t *testing.T) {
//		cachetest.Test(t, cachetest.Harness{
//			New:   func(ttl time.Duration) (cache.Store, error) { return mystore.New(client, ttl) },
//			Sleep: time.Sleep, // or what moves the store's clock
//		})
//	}
//
// A store that uses the clock of this process can be tested in a synctest bubble, where no
// test has to wait. The name of a check says what it demands; [Checks] returns the checks one
// by one. If the store is a [cache.Admin], that is checked, too. If it is an [io.Closer], it
// is closed, and its operations are checked after that.
package cachetest

import "testing"

// Test runs all checks as subtests.
func Test(t *testing.T, h Harness) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(h); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Checks returns all checks.
func Checks() []Check {
	return []Check{
		{"first-wins", firstWins},
		{"a-burst-ends-on-one-auth", burst},
		{"read-your-write", readYourWrite},
		{"nothing-names-nothing", zero},
		{"scopes-never-meet", scopes},
		{"long-names-are-told-apart", longNames},

		{"aliases-lead-to-one-binding", aliases},
		{"aliases-are-learned", learned},
		{"also-merges-nobody", also},
		{"names-are-not-taken", notTaken},
		{"content-is-found-by-its-earlier-ends", earlierEnds},
		{"content-tells-a-retry-from-a-twin", twins},
		{"content-is-found-by-also", byAlso},
		{"fallbacks-are-not-bound", fallbacksAreNotBound},
		{"keys-are-bounded-and-enough", bounded},

		{"marks-find-the-session", marks},
		{"a-shared-mark-is-none", sharedMarks},
		{"answers-lead-to-their-session", answers},
		{"a-second-answer-is-a-twins", twinAnswers},
		{"no-third-takes-a-twin-along", third},

		{"generations-are-new", generations},
		{"a-stable-name", stableName},
		{"late-results-change-nothing", late},
		{"one-move-wins", oneMove},
		{"provisional-until-served", provisional},
		{"one-failed-use-does-not-unbind", uses},
		{"a-session-outlives-its-auth", lostAuth},
		{"a-lost-auth-does-not-serve", lostServes},
		{"memo-is-compare-and-set", memo},
		{"memo-survives-moves", memoSurvives},

		{"knows-when-it-was-served", sinceServed},
		{"knows-how-long-it-was-idle", idle},
		{"knows-how-old-a-binding-is", age},
		{"idle-expires-not-age", sliding},
		{"aliases-live-and-die-together", together},
		{"peek-changes-nothing", peek},
		{"touch-does-not-resurrect", resurrect},

		{"notes-are-recalled", notes},
		{"notes-are-no-sessions", notesApart},
		{"notes-expire-when-idle", notesExpire},

		{"invalidate-session", invalidateSession},
		{"invalidate-auth", invalidateAuth},
		{"invalidate-tenant", invalidateTenant},
		{"rename-auth", renameAuth},
		{"count-auth", countAuth},
		{"count-auths", countAuths},
		{"edit-memos", editMemos},
		{"closed", closed},
	}
}
