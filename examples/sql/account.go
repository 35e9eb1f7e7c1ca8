package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

// Schema is the table of accounts.
const Schema = `
CREATE TABLE IF NOT EXISTS account (
	id      TEXT   PRIMARY KEY,
	balance BIGINT NOT NULL DEFAULT 0,
	token   BIGINT NOT NULL
)`

// An Account is the balance in one row.
type Account struct {
	DB *sql.DB
	ID string
}

var _ guard.Claimer[int64] = Account{}

// Load returns the balance: 0 where there is no row.
func (a Account) Load(ctx context.Context) (balance int64, err error) {
	err = a.DB.QueryRowContext(ctx, `SELECT balance FROM account WHERE id = $1`, a.ID).Scan(&balance)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return balance, err
}

// Claim returns the balance, and raises the token.
func (a Account) Claim(ctx context.Context, token locker.Token) (balance int64, err error) {
	err = a.DB.QueryRowContext(ctx, `
		INSERT INTO account (id, token) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET token = excluded.token WHERE account.token <= excluded.token
		RETURNING balance`, a.ID, int64(token)).Scan(&balance)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("%w: a later holder has claimed the row", guard.ErrFenced)
	}
	return balance, err
}

// Store writes the balance, unless a later holder has claimed the row.
func (a Account) Store(ctx context.Context, token locker.Token, balance int64) error {
	result, err := a.DB.ExecContext(ctx, `UPDATE account SET balance = $1 WHERE id = $2 AND token = $3`, balance, a.ID, int64(token))
	if err != nil {
		return err
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%w: a later holder has claimed the row", guard.ErrFenced)
	}
	return nil
}
