package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// openShop returns a Locker, and what closes all there is.
func openShop() (l *locker.Locker, closeAll func()) {
	client := dial()
	l = open(client)
	return l, func() { l.Close(); client.Close() }
}

func item(l *locker.Locker, sku SKU) *guard.Guard[Item] {
	return guard.New(l, stock.Key(sku), guard.Stored(guard.JSON[Item]()))
}

func ExampleGuard_Update() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	kettle := item(l, "kettle")
	now, err := kettle.Update(ctx, func(_ context.Context, cur Item) (Item, error) {
		cur.SKU = "kettle" // what was never stored is the zero Item
		cur.Stock += 8
		return cur, nil
	})
	fmt.Println(now, err)

	_, err = kettle.Update(ctx, func(_ context.Context, cur Item) (Item, error) {
		if cur.Stock < 10 {
			return cur, errors.New("not enough") // nothing is stored
		}
		cur.Stock -= 10
		return cur, nil
	})
	fmt.Println(err)
	// Output:
	// {kettle 8} <nil>
	// not enough
}

// A counter that many processes add to now and then: while nobody else does, an update is one
// round trip.
func ExampleOptimistic() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	visits := guard.New(l, keyspace.MustParse("visits"), guard.Stored(guard.JSON[int]()), guard.Optimistic[int]())
	for range 3 {
		// The function may run again, so it only computes.
		n, err := visits.Update(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
		fmt.Println(n, err)
	}
	fmt.Println(visits.Delete(ctx))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
	// <nil>
}

// What an update stores is safe from who lost the lock without noticing.
func ExampleGuard_Update_fenced() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	kettle := item(l, "kettle")
	_, err := kettle.Update(ctx, func(_ context.Context, cur Item) (Item, error) {
		l.Evict(ctx, kettle.Key()) // somebody takes the lock away
		cur.Stock = 1000
		return cur, nil
	})
	fmt.Println(errors.Is(err, guard.ErrFenced), errors.Is(err, locker.ErrLost))
	now, err := kettle.Get(ctx)
	fmt.Println(now.Stock, err)
	// Output:
	// true true
	// 0 <nil>
}

func ExampleGuard_Get() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	kettle := item(l, "kettle")
	now, err := kettle.Get(ctx) // takes no lock
	fmt.Println(now.Stock, err)
	// From the nearest member, perhaps of a moment ago:
	now, err = kettle.Get(ctx, guard.Serializable())
	fmt.Println(now.Stock, err)
	// Output:
	// 0 <nil>
	// 0 <nil>
}

func ExampleGuard_GetVersion() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	kettle := item(l, "kettle")
	now, err := kettle.GetVersion(ctx)
	fmt.Println(now.Value.Stock, "in stock; stored:", now.Stored(), err)
	if _, err := kettle.Update(ctx, func(_ context.Context, cur Item) (Item, error) { return cur, nil }); err != nil {
		fmt.Println(err)
	}
	now, err = kettle.GetVersion(ctx)
	fmt.Println(now.Value.Stock, "in stock; stored:", now.Stored(), err)
	// Output:
	// 0 in stock; stored: false <nil>
	// 0 in stock; stored: true <nil>
}

func ExampleGuard_Watch() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	kettle := item(l, "kettle")
	for now, err := range kettle.Watch(ctx) {
		if err != nil {
			fmt.Println(err)
			break
		}
		if !now.Stored() { // never stored, or deleted
			fmt.Println("not sold here")
		} else {
			fmt.Println("in stock:", now.Value.Stock)
		}
		if now.Value.Stock == 3 {
			break
		}
		_, err := kettle.Update(ctx, func(_ context.Context, cur Item) (Item, error) {
			cur.Stock++
			return cur, nil
		})
		if err != nil {
			fmt.Println(err)
			break
		}
	}
	// Output:
	// not sold here
	// in stock: 1
	// in stock: 2
	// in stock: 3
}

func ExampleGuard_Delete() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	kettle := item(l, "kettle")
	if _, err := kettle.Update(ctx, func(context.Context, Item) (Item, error) { return Item{"kettle", 8}, nil }); err != nil {
		fmt.Println(err)
	}
	fmt.Println(kettle.Delete(ctx))
	fmt.Println(kettle.Delete(ctx)) // there is nothing to delete: no error
	now, err := kettle.GetVersion(ctx)
	fmt.Println("stored:", now.Stored(), err)
	// Output:
	// <nil>
	// <nil>
	// stored: false <nil>
}

// A value that is there or not: the last one to leave deletes it.
func ExampleOptional() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	type Session struct{ Users int }
	session := guard.New(l, keyspace.MustParse("session/7"), guard.Optional(guard.JSON[Session]()))
	join := func(_ context.Context, cur *Session) (*Session, error) {
		if cur == nil {
			return &Session{Users: 1}, nil
		}
		cur.Users++
		return cur, nil
	}
	leave := func(_ context.Context, cur *Session) (*Session, error) {
		if cur == nil || cur.Users == 1 {
			return nil, nil // deletes it
		}
		cur.Users--
		return cur, nil
	}
	for _, step := range []func(context.Context, *Session) (*Session, error){join, join, leave, leave} {
		now, err := session.Update(ctx, step)
		if err != nil {
			fmt.Println(err)
		}
		if now == nil {
			fmt.Println("nobody is left")
			continue
		}
		fmt.Println("users:", now.Users)
	}
	// Output:
	// users: 1
	// users: 2
	// users: 1
	// nobody is left
}

func ExampleGuard_View() {
	l, done := openShop()
	defer done()

	err := item(l, "kettle").View(context.Background(), func(_ context.Context, cur Item) error {
		// Nobody updates the kettle now; others may view it.
		fmt.Println("in stock:", cur.Stock)
		return nil
	})
	fmt.Println(err)
	// Output:
	// in stock: 0
	// <nil>
}

func ExampleUpdate2() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	accounts := keyspace.MustNew[string]("account")
	ann := guard.New(l, accounts.Key("ann"), guard.Stored(guard.JSON[int]()))
	bob := guard.New(l, accounts.Key("bob"), guard.Stored(guard.JSON[int]()))
	err := guard.Update2(ctx, ann, bob, func(_ context.Context, a, b int) (int, int, error) {
		return a - 30, b + 30, nil // both, or neither
	})
	fmt.Println(err)
	a, _ := ann.Get(ctx)
	b, _ := bob.Get(ctx)
	fmt.Println(a, b)
	// Output:
	// <nil>
	// -30 30
}

func ExampleUpdateN() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	players := keyspace.MustNew[int]("player")
	var all []*guard.Guard[int]
	for id := range 4 {
		all = append(all, guard.New(l, players.Key(id), guard.Stored(guard.JSON[int]())))
	}
	err := guard.UpdateN(ctx, all, func(_ context.Context, chips []int) ([]int, error) {
		for i := range chips {
			chips[i] += 100
		}
		return chips, nil
	})
	fmt.Println(err)
	last, err := all[3].Get(ctx)
	fmt.Println(last, err)
	// Output:
	// <nil>
	// 100 <nil>
}

func ExampleStored() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	gateway := guard.New(l, keyspace.MustParse("net/gateway"), guard.Stored(guard.Text[netip.Addr]()))
	_, err := gateway.Update(ctx, func(context.Context, netip.Addr) (netip.Addr, error) {
		return netip.MustParseAddr("192.0.2.1"), nil
	})
	fmt.Println(err)
	// It is an ordinary key of etcd, beside the lock.
	resp, err := l.Client().KV.Get(ctx, gateway.Key().ValuePath(l.Prefix()))
	fmt.Printf("%s is %s %v\n", resp.Kvs[0].Key, resp.Kvs[0].Value, err)
	// Output:
	// <nil>
	// /elock/net:/gateway is 192.0.2.1 <nil>
}

// An old version of a program updates what a new one has stored.
func ExampleJSON() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	type Lamp struct { // of the new version
		Stock int
		Watts int
	}
	newer := guard.New(l, stock.Key("lamp"), guard.Stored(guard.JSON[Lamp]()))
	if _, err := newer.Update(ctx, func(context.Context, Lamp) (Lamp, error) { return Lamp{Stock: 8, Watts: 60}, nil }); err != nil {
		fmt.Println(err)
	}
	older := item(l, "lamp") // Item has no Watts
	if _, err := older.Update(ctx, func(_ context.Context, cur Item) (Item, error) { cur.Stock--; return cur, nil }); err != nil {
		fmt.Println(err)
	}
	fmt.Println(newer.Get(ctx))
	// Output: {7 60} <nil>
}

func ExampleRefuseUnknown() {
	l, done := openShop()
	defer done()
	ctx := context.Background()

	if _, err := l.Client().Put(ctx, stock.Key("lamp").ValuePath(l.Prefix()), `{"Stock":8,"Watts":60}`); err != nil {
		fmt.Println(err)
	}
	lamp := guard.New(l, stock.Key("lamp"), guard.Stored(guard.JSON[Item](guard.RefuseUnknown())))
	_, err := lamp.Update(ctx, func(_ context.Context, cur Item) (Item, error) { cur.Stock--; return cur, nil })
	fmt.Println(errors.Is(err, guard.ErrLossy))
	fmt.Println(err)
	now, err := lamp.Get(ctx)
	fmt.Println(now.Stock, err)
	// Output:
	// true
	// elock: update "stock/lamp": guard: the update would lose data: json: unknown field "Watts"
	// 8 <nil>
}

func ExampleDropUnknown() {
	codec := guard.JSON[Item](guard.DropUnknown()).(guard.Merger[Item])
	data, err := codec.Merge([]byte(`{"SKU":"lamp","Stock":8,"Watts":60}`), Item{"lamp", 7})
	fmt.Printf("%s %v\n", data, err)
	// Output: {"SKU":"lamp","Stock":7} <nil>
}

func ExampleBinary() {
	codec := guard.Binary[time.Time]()
	data, err := codec.Marshal(time.Unix(0, 0).UTC())
	fmt.Println(len(data), err)
	then, err := codec.Unmarshal(data)
	fmt.Println(then, err)
	// Output:
	// 15 <nil>
	// 1970-01-01 00:00:00 +0000 UTC <nil>
}

func ExampleText() {
	data, err := guard.Text[netip.Prefix]().Marshal(netip.MustParsePrefix("192.0.2.0/24"))
	fmt.Printf("%s %v\n", data, err)
	// Output: 192.0.2.0/24 <nil>
}

func ExampleBytes() {
	l, done := openShop()
	defer done()

	motto := guard.New(l, keyspace.MustParse("motto"), guard.Stored(guard.Bytes[string]()))
	now, err := motto.Update(context.Background(), func(context.Context, string) (string, error) { return "open all night", nil })
	fmt.Println(now, err)
	// Output: open all night <nil>
}

// Protobuf is a Codec of messages: *M, a pointer to a generated struct.
type Protobuf[M any, P interface {
	*M
	proto.Message
}] struct{}

func (Protobuf[M, P]) Marshal(m P) ([]byte, error) { return proto.Marshal(m) }

func (Protobuf[M, P]) Unmarshal(data []byte) (P, error) {
	m := P(new(M))
	return m, proto.Unmarshal(data, m)
}

// A codec for Protobuf is these lines; the package itself does not depend on it.
func ExampleCodec_protobuf() {
	l, done := openShop()
	defer done()

	codec := Protobuf[durationpb.Duration, *durationpb.Duration]{}
	timeout := guard.New(l, keyspace.MustParse("config/timeout"), guard.Stored[*durationpb.Duration](codec))
	now, err := timeout.Update(context.Background(), func(_ context.Context, cur *durationpb.Duration) (*durationpb.Duration, error) {
		return durationpb.New(cur.AsDuration() + time.Minute), nil // cur is nil at first
	})
	fmt.Println(now.AsDuration(), err)
	// Output: 1m0s <nil>
}

// A Ledger is a Resource. It stands for a database: see examples/sql for one.
type Ledger struct {
	balance int
	token   locker.Token
}

func (l *Ledger) Load(context.Context) (int, error) { return l.balance, nil }

func (l *Ledger) Store(_ context.Context, token locker.Token, balance int) error {
	if token < l.token { // in SQL, a WHERE clause
		return fmt.Errorf("%w: token %d after %d", guard.ErrFenced, token, l.token)
	}
	l.balance, l.token = balance, token
	return nil
}

func ExampleBind() {
	l, done := openShop()
	defer done()

	ledger := guard.New(l, keyspace.MustParse("ledger"), guard.Bind[int](new(Ledger)))
	balance, err := ledger.Update(context.Background(), func(_ context.Context, cur int) (int, error) { return cur + 30, nil })
	fmt.Println(balance, err)
	// Output: 30 <nil>
}
