package affinity

import (
	"slices"
	"time"
)

// worthWaiting is the error for a request that has the patience to wait for the
// session's own auth, whose prompt cache is warm. It is nil if there is nothing to
// wait for.
func (v *visit[T]) worthWaiting(bound int) *NoAuthError {
	if v.r.Side || !v.session.Served || v.cold(bound) {
		return nil
	}
	t := v.trouble
	t.resume() // of this copy: where it would go
	if i := v.serving(t.detour, rankBusy); i >= 0 && t.served != 0 && v.now-t.served <= int64(v.warm(i)) {
		return nil // it is warm where its requests go meanwhile
	}
	return v.backSoon(bound, ReasonAway)
}

// backSoon is the error that says when a candidate is back, if it has said that and
// the request has the patience. A guess does not count: it may be wrong, and then the
// wait was for nothing.
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
