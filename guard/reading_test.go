package guard_test

import (
	"context"
	"testing"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

func TestWhatAGuardReadsBesidesIsNotTakenForAValue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	a, b := number(l, 1), number(l, 2)
	// One commit, so that revisions do not tell the values apart.
	wantErr(t, guard.Update2(t.Context(), a, b, func(context.Context, int, int) (int, int, error) { return 1, 100, nil }), nil)
	for _, name := range []string{s.nameOf(numbers.Key(2)), "/" + s.prefix + "-absent"} {
		c := guard.New(l, numbers.Key(3), guard.Stored(guard.JSON[int]()), guard.Acquiring[int](locker.ReadKeys(name)))
		for _, update := range []func(fn func(a, c int) (int, int)) error{
			func(fn func(a, c int) (int, int)) error {
				return guard.Update2(t.Context(), a, c, func(_ context.Context, a, c int) (int, int, error) { a, c = fn(a, c); return a, c, nil })
			},
			func(fn func(a, c int) (int, int)) error {
				return guard.Update2(t.Context(), c, a, func(_ context.Context, c, a int) (int, int, error) { a, c = fn(a, c); return c, a, nil })
			},
		} {
			before, err := a.Get(t.Context())
			wantErr(t, err, nil)
			wantErr(t, update(func(a, c int) (int, int) {
				if a != before {
					t.Errorf("reading %s: got %d, want %d", name, a, before)
				}
				return a + 1, c + 1
			}), nil)
		}
	}
}
