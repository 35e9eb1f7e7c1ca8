package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// SKU names an item for sale.
type SKU string

// stock has one lock for each item.
var stock = keyspace.MustNew[SKU]("stock")

// An Item is what a lock protects. What is left and the ledger of what was sold
// are in one file, so they cannot drift apart.
type Item struct {
	SKU    SKU    `json:"sku"`
	Stock  int    `json:"stock"`
	Ledger []Sale `json:"ledger"`
}

// A Sale is one piece sold, under the lock that had this token.
type Sale struct {
	Token  locker.Token `json:"token"`
	Seller string       `json:"seller"`
}

//go:embed items.json
var itemsJSON []byte

func initialItems() (items []Item, err error) {
	err = json.Unmarshal(itemsJSON, &items)
	return items, err
}

// A shop is a directory with one file for each item. Nothing but the item's
// lock keeps two processes from changing a file at once.
type shop struct{ dir string }

func (s shop) load(sku SKU) (item Item, err error) {
	data, err := os.ReadFile(s.path(sku))
	if err == nil {
		err = json.Unmarshal(data, &item)
	}
	return item, err
}

// sell takes one piece from item, as load returned it, and stores the rest. It
// refuses a token that is not newer than the last one in the file: whoever has
// it held the lock once, and does not know that others have held it since.
func (s shop) sell(item Item, sale Sale) (Item, error) {
	now, err := s.load(item.SKU)
	if err != nil {
		return item, err
	}
	if n := len(now.Ledger); n > 0 && sale.Token <= now.Ledger[n-1].Token {
		return item, fmt.Errorf("%s: old token %d refused", item.SKU, sale.Token)
	}
	item.Stock--
	item.Ledger = append(item.Ledger, sale)
	return item, s.store(item)
}

// store replaces the file in one step: if the process is killed, either the old
// one or the new one is there.
func (s shop) store(item Item) error {
	data, err := json.Marshal(item)
	if err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.%d", s.path(item.SKU), os.Getpid())
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, s.path(item.SKU))
}

func (s shop) path(sku SKU) string { return filepath.Join(s.dir, string(sku)+".json") }

// check compares what is stored now with what there was at first, and with the
// sales that sellers reported. A seller that is killed may have stored a sale
// that it did not report; but a reported sale must be stored.
func check(first, now Item, reported []locker.Token) error {
	if now.Stock < 0 {
		return fmt.Errorf("%s: oversold by %d", now.SKU, -now.Stock)
	}
	if now.Stock+len(now.Ledger) != first.Stock {
		return fmt.Errorf("%s: %d sold and %d left do not make %d", now.SKU, len(now.Ledger), now.Stock, first.Stock)
	}
	for _, token := range reported {
		if !slices.ContainsFunc(now.Ledger, func(s Sale) bool { return s.Token == token }) {
			return fmt.Errorf("%s: the sale with token %d is lost", now.SKU, token)
		}
	}
	return nil
}
