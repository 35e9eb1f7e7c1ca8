package guard_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestAStoredValueIsReadFromBesideItsLock(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	for name, path := range map[string]string{
		"one":       "/" + s.prefix + "/one",
		"space/one": "/" + s.prefix + "/space:/one",
		"a/b:%/one": "/" + s.prefix + "/a:/b%3A%25:/one",
	} {
		if _, err := s.client.Put(t.Context(), path, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		g := guard.New(l, keyspace.MustParse(name), guard.Stored(guard.Text[netip.Addr]()))
		v, err := g.Get(t.Context())
		wantValue(t, v, err, netip.MustParseAddr("192.0.2.1"))
	}
}

func TestAValueThatWasNeverStoredOrIsDeletedReadsAsZero(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := counter(s.locker(t))
	for range 2 {
		n, err := g.Get(t.Context())
		wantValue(t, n, err, 0)
		v, err := g.GetVersion(t.Context())
		wantVersion(t, v, err, absent)
		s.put(t, "7")
		s.delete(t)
	}
}

func TestAStoredZeroHasAVersionThatGrowsWithEveryCommit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := counter(s.locker(t))
	for range 3 {
		want := s.put(t, "0")
		v, err := g.GetVersion(t.Context())
		wantVersion(t, v, err, 0)
		wantValue(t, v.Revision, err, want)
		s.delete(t)
	}
}

func TestAGetTakesNoLock(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.locker(t), s.locker(t)
	defer occupy(t, b)()
	s.put(t, "7")
	v, err := counter(a).Get(t.Context())
	wantValue(t, v, err, 7)
}

// An askedKV notes the options of each Get.
type askedKV struct {
	clientv3.KV
	ops *[]clientv3.Op
}

func (kv askedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	*kv.ops = append(*kv.ops, clientv3.OpGet(key, opts...))
	return kv.KV.Get(ctx, key, opts...)
}

func TestAGetIsLinearizableUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	client := s.Client(t)
	var ops []clientv3.Op
	client.KV = askedKV{client.KV, &ops}
	g := counter(s.lockerOn(t, client))
	s.put(t, "7")
	v, err := g.Get(t.Context())
	wantValue(t, v, err, 7)
	v, err = g.Get(t.Context(), guard.Serializable())
	wantValue(t, v, err, 7)
	at, err := g.GetVersion(t.Context(), guard.Serializable())
	wantVersion(t, at, err, 7)
	for i, want := range []bool{false, true, true} {
		if got := ops[i].IsSerializable(); got != want {
			t.Errorf("Get %d: serializable is %v", i, got)
		}
	}
}

func TestAValueThatDoesNotDecodeIsAnError(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	s.put(t, "seven")
	v, err := counter(l).Get(t.Context())
	wantErr(t, err, guard.ErrDecode)
	if v != 0 {
		t.Errorf("got %d", v)
	}
	wantOp(t, err, "get")
	g := guard.New(l, key, guard.Stored[int](lame{unmarshal: errMine}))
	if v, err = g.Get(t.Context()); v != 0 {
		t.Errorf("got %d", v)
	}
	wantErr(t, err, guard.ErrDecode, errMine)
	s.wantStored(t, key, "seven")
}

// wantOp fails the test unless err is that of an operation on space/key.
func wantOp(tb testing.TB, err error, op string) {
	tb.Helper()
	e, ok := err.(*locker.Error)
	if !ok || e.Op != op || e.Key != key.String() {
		tb.Errorf("got %#v, want an Error of %s %v", err, op, key)
	}
}

// A deadKV answers no Get.
type deadKV struct {
	clientv3.KV
	err error
}

func (kv deadKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return nil, kv.err
}

func TestAGetReturnsTheErrorOfEtcd(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	client := s.Client(t)
	client.KV = deadKV{client.KV, rpctypes.ErrPermissionDenied}
	_, err := counter(s.lockerOn(t, client)).Get(t.Context())
	wantErr(t, err, rpctypes.ErrPermissionDenied)
	wantOp(t, err, "get")
}

func TestAGetEndsWithItsContextAndWithoutEtcdAfterFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		g := counter(l)
		lockertest.Disconnect(l)
		began := time.Now()
		_, err := g.Get(t.Context())
		wantErr(t, err, locker.ErrUnavailable)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errMine) })
		_, err = g.Get(ctx)
		wantErr(t, err, context.Canceled, errMine)
		if errors.Is(err, locker.ErrUnavailable) {
			t.Errorf("got error %v of a caller that has cancelled", err)
		}
		late, stop := context.WithTimeoutCause(t.Context(), time.Second, errMine)
		defer stop()
		_, err = g.Get(late)
		wantErr(t, err, context.DeadlineExceeded, errMine, locker.ErrUnavailable)
		if _, err = g.Get(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v under a context that is done", err)
		}
	})
}

// uses are the calls that need a resource.
var uses = map[string]func(*guard.Guard[int], context.Context) error{
	"get": func(g *guard.Guard[int], ctx context.Context) error { _, err := g.Get(ctx); return err },
	"get a version": func(g *guard.Guard[int], ctx context.Context) error {
		_, err := g.GetVersion(ctx)
		return err
	},
	"watch": func(g *guard.Guard[int], ctx context.Context) (err error) {
		n := 0
		for _, err = range g.Watch(ctx) {
			n++
		}
		if n != 1 {
			err = errors.New("the watch did not yield once")
		}
		return err
	},
	"update": func(g *guard.Guard[int], ctx context.Context) error {
		_, err := g.Update(ctx, func(context.Context, int) (int, error) { panic("it ran") })
		return err
	},
	"delete": func(g *guard.Guard[int], ctx context.Context) error { return g.Delete(ctx) },
	"view": func(g *guard.Guard[int], ctx context.Context) error {
		return g.View(ctx, func(context.Context, int) error { panic("it ran") })
	},
	"update of two": func(g *guard.Guard[int], ctx context.Context) error {
		return guard.Update2(ctx, g, g, func(context.Context, int, int) (int, int, error) { panic("it ran") })
	},
	"update of several": func(g *guard.Guard[int], ctx context.Context) error {
		return guard.UpdateN(ctx, []*guard.Guard[int]{g}, func(context.Context, []int) ([]int, error) { panic("it ran") })
	},
}

func TestWhatIsWrongWithAGuardIsToldByEveryCall(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t)
	var bad locker.Locker
	closed, _ := newPair(t)
	wantErr(t, closed.Close(), nil)
	rows := map[string]struct {
		g    *guard.Guard[int]
		want error
	}{
		"no resource":   {guard.New[int](a, key), guard.ErrNoResource},
		"nil Locker":    {counter(nil), locker.ErrInvalidOption},
		"zero Locker":   {counter(&bad), locker.ErrInvalidOption},
		"closed Locker": {counter(closed), locker.ErrClosed},
		"zero key":      {guard.New(a, keyspace.Key{}, guard.Stored(guard.JSON[int]())), keyspace.ErrInvalid},
		"nil codec":     {guard.New(a, key, guard.Stored[int](nil)), locker.ErrInvalidOption},
		"nil resource":  {guard.New(a, key, guard.Bind[int](nil)), locker.ErrInvalidOption},
		"two resources": {counter(a, guard.Bind[int](new(shelf))), locker.ErrInvalidOption},
		"two codecs":    {counter(a, guard.Stored(guard.JSON[int]())), locker.ErrInvalidOption},
	}
	for name, r := range rows {
		for use, call := range uses {
			err := call(r.g, t.Context())
			var e *locker.Error
			if !errors.Is(err, r.want) || !errors.As(err, &e) || e.Key != r.g.Key().String() {
				t.Errorf("%s: %s: got error %v, want an Error of key %q with %v", name, use, err, r.g.Key(), r.want)
			}
		}
	}
}

func TestANilGetOptionIsInvalid(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t)
	_, err := counter(a).Get(t.Context(), nil)
	wantErr(t, err, locker.ErrInvalidOption)
}
