package sql_test

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/phpgao/elock/examples/sql"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

var accounts = keyspace.MustNew[string]("account")

// open are the databases to test with.
var open = map[string]func(t *testing.T) *stdsql.DB{"SQLite": openSQLite, "PostgreSQL": openPostgres}

// eachDB runs a test with each database, in an empty table of its own.
func eachDB(t *testing.T, test func(t *testing.T, db *stdsql.DB)) {
	for name, open := range open {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
			if _, err := db.ExecContext(t.Context(), sql.Schema); err != nil {
				t.Fatal(err)
			}
			test(t, db)
		})
	}
}

func openSQLite(t *testing.T) *stdsql.DB {
	db, err := stdsql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "bank.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func balance(l *locker.Locker, db *stdsql.DB, id string) *guard.Guard[int64] {
	return guard.New(l, accounts.Key(id), guard.Bind[int64](sql.Account{DB: db, ID: id}))
}

func deposit(cents int64) func(context.Context, int64) (int64, error) {
	return func(_ context.Context, cur int64) (int64, error) { return cur + cents, nil }
}

func wantBalance(t *testing.T, g *guard.Guard[int64], want int64) {
	t.Helper()
	if got, err := g.Get(t.Context()); got != want || err != nil {
		t.Errorf("the balance is %d, %v; want %d", got, err, want)
	}
}

func TestAnAccountIsUpdatedUnderItsLock(t *testing.T) {
	eachDB(t, func(t *testing.T, db *stdsql.DB) {
		l := lockertest.New(t)
		ann, bob := balance(l, db, "ann"), balance(l, db, "bob")
		wantBalance(t, ann, 0)
		for want := int64(100); want <= 300; want += 100 {
			if got, err := ann.Update(t.Context(), deposit(100)); got != want || err != nil {
				t.Errorf("got %d, %v; want %d", got, err, want)
			}
		}
		wantBalance(t, ann, 300)
		wantBalance(t, bob, 0)
		err := ann.View(t.Context(), func(_ context.Context, cents int64) error { return fmt.Errorf("%d cents", cents) })
		if err == nil || err.Error() != "300 cents" {
			t.Errorf("got error %v", err)
		}
		wantErr := errors.New("mine")
		if _, err := ann.Update(t.Context(), func(context.Context, int64) (int64, error) { return 0, wantErr }); err != wantErr {
			t.Errorf("got error %v, want %v", err, wantErr)
		}
		wantBalance(t, ann, 300)
	})
}

func TestNoDepositOfManyProcessesIsLost(t *testing.T) {
	eachDB(t, func(t *testing.T, db *stdsql.DB) {
		a, b := lockertest.NewPair(t)
		var wg sync.WaitGroup
		for _, l := range []*locker.Locker{a, a, b, b} {
			wg.Go(func() {
				for range 10 {
					if _, err := balance(l, db, "ann").Update(t.Context(), deposit(1)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		wantBalance(t, balance(a, db, "ann"), 40)
	})
}

// A lost lock is noticed late, if at all: here the old holder stores when the
// next one has claimed the row, and when that one has stored.
func TestAHolderThatLostItsLockCannotStore(t *testing.T) {
	eachDB(t, func(t *testing.T, db *stdsql.DB) {
		a, b := lockertest.NewPair(t)
		ann := sql.Account{DB: db, ID: "ann"}
		hold := func(l *locker.Locker) *locker.Hold {
			h, err := l.Acquire(t.Context(), accounts.Key("ann"))
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		claim := func(h *locker.Hold, want int64) {
			t.Helper()
			if got, err := ann.Claim(t.Context(), h.Token()); got != want || err != nil {
				t.Errorf("claimed %d, %v; want %d", got, err, want)
			}
		}
		wantFenced := func(err error) {
			t.Helper()
			if !errors.Is(err, guard.ErrFenced) {
				t.Errorf("got error %v, want %v", err, guard.ErrFenced)
			}
		}
		late := hold(a)
		claim(late, 0)
		lockertest.Lose(a, accounts.Key("ann"))
		next := hold(b)
		claim(next, 0)
		wantFenced(ann.Store(t.Context(), late.Token(), 1))
		_, err := ann.Claim(t.Context(), late.Token())
		wantFenced(err)
		for cents := range int64(3) { // one holder may store more than once
			if err := ann.Store(t.Context(), next.Token(), cents); err != nil {
				t.Error(err)
			}
		}
		wantFenced(ann.Store(t.Context(), late.Token(), 1))
		wantBalance(t, balance(b, db, "ann"), 2)
	})
}

func TestAnUpdateThatLostItsLockIsFencedOff(t *testing.T) {
	eachDB(t, func(t *testing.T, db *stdsql.DB) {
		a, b := lockertest.NewPair(t)
		_, err := balance(a, db, "ann").Update(t.Context(), func(ctx context.Context, cur int64) (int64, error) {
			lockertest.Lose(a, accounts.Key("ann"))
			if _, err := balance(b, db, "ann").Update(t.Context(), deposit(10)); err != nil {
				t.Error(err)
			}
			return cur + 1, nil
		})
		if !errors.Is(err, guard.ErrFenced) {
			t.Errorf("got error %v, want %v", err, guard.ErrFenced)
		}
		wantBalance(t, balance(a, db, "ann"), 10)
	})
}
