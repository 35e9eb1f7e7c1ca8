package main

import (
	"context"
	"errors"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// AccountID numbers the accounts from 0.
type AccountID int

// An Account is what a lock protects.
type Account struct {
	Balance   int `json:"balance"`
	Transfers int `json:"transfers"` // to and from it
}

// accounts has one lock for each account.
var accounts = keyspace.MustNew[AccountID]("account")

var codec = guard.JSON[Account]()

// deposit is what each account has at first.
const deposit = 1000

var errOverdraft = errors.New("not enough money")

func account(l *locker.Locker, id AccountID) *guard.Guard[Account] {
	return guard.New(l, accounts.Key(id), guard.Stored(codec))
}

// openAccounts makes n accounts.
func openAccounts(ctx context.Context, l *locker.Locker, n int) error {
	for id := range AccountID(n) {
		_, err := account(l, id).Update(ctx, func(context.Context, Account) (Account, error) {
			return Account{Balance: deposit}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counting is how long a teller counts the money, with both accounts locked.
const counting = 10 * time.Millisecond

// transfer moves amount from one account to another: both change, or neither.
// It does not look at the context of the function: a process that was paused
// would look too late. Update2 does not store what comes too late.
func transfer(ctx context.Context, l *locker.Locker, from, to AccountID, amount int) error {
	return guard.Update2(ctx, account(l, from), account(l, to),
		func(_ context.Context, a, b Account) (Account, Account, error) {
			time.Sleep(counting)
			if a.Balance < amount {
				return a, b, errOverdraft
			}
			a.Balance -= amount
			b.Balance += amount
			a.Transfers++
			b.Transfers++
			return a, b, nil
		})
}
