package affinity

import (
	"slices"
	"time"
)

// worthWaiting returns the error for a request whose Patience is long enough to wait for the
// session's own auth, whose prompt cache is warm. It is nil if the request is not to wait.
func (v *visit[T]) worthWaiting(bound int) *NoAuthError {
	if v.r.Side || !v.session.Served || v.cold(bound) {
		return nil
	}
	t := v.trouble
	t.resume() // of this copy, to see which auth would serve
	if i := v.serving(t.detour, rankBusy); i >= 0 && t.served != 0 && v.now-t.served <= int64(v.warm(i)) {
		return nil // the prompt cache of the detour is warm
	}
	return v.backSoon(bound, ReasonAway)
}

// backSoon returns the error that says when a candidate is back, if the auth itself has said
// so and it is within the request's Patience. A guess does not count, because it may be wrong.
func (v *visit[T]) backSoon(i int, why Reason) *NoAuthError {
	name := v.nameOf(i)
	if v.r.Patience <= 0 || slices.Contains(v.r.Tried, name) {
		return nil
	}
	back := int64(0)
	switch s := v.judge(i).state; {
	case s.Fitness == Away && !s.Guess && !s.Until.IsZero():
		back = s.Until.UnixNano()
	case s.Fitness > Busy:
		return nil
	}
	until, asked := v.trouble.left(name, v.now)
	if until != 0 && !asked {
		return nil
	}
	if back = max(back, until); back == 0 || back-v.now > int64(v.r.Patience) {
		return nil
	}
	return &NoAuthError{Reason: why, Auth: name, Until: time.Unix(0, back), waits: true}
}
