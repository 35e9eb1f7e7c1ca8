package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

const (
	lockTTL  = 3 * time.Second // how long a lock outlives a killed process
	saleTime = 200 * time.Millisecond
)

var errSoldOut = errors.New("sold out")

// A seller is a process of its own.
type seller struct {
	name      string
	endpoints string // of etcd
	prefix    string // of the locks
	shop      shop
	slow      chan struct{} // each value is a customer who takes a minute to pay
}

// An event is what a seller tells its parent: a line of JSON.
type event struct {
	Seller, Kind string
	SKU          SKU
	Token        locker.Token
	Waited       time.Duration // for the lock
	Left         int
	Reason       string // for losing the lock
	Err          error  `json:"-"`
}

func (s *seller) tell(e event) {
	e.Seller = s.name
	json.NewEncoder(os.Stdout).Encode(e)
}

// work sells until all is sold or standard input ends. The first line there
// opens the shop, and every further one sends a slow customer.
func (s *seller) work() error {
	signal.Ignore(os.Interrupt) // Ctrl-C comes here too, but the parent sees to it
	items, err := initialItems()
	if err != nil {
		return err
	}
	client, err := connect(s.endpoints)
	if err != nil {
		return err
	}
	defer client.Close()
	l, err := locker.New(client,
		locker.WithPrefix(s.prefix),
		locker.WithOwner(s.name),
		locker.WithTTL(lockTTL),
		locker.WithLogger(slog.New(slog.DiscardHandler))) // we tell of a lost lock ourselves
	if err != nil {
		return err
	}
	defer l.Close()

	s.tell(event{Kind: "ready"})
	orders := bufio.NewScanner(os.Stdin)
	if !orders.Scan() {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	s.slow = make(chan struct{}, 8) // more than the parent sends
	go func() {
		defer stop()
		for orders.Scan() {
			s.slow <- struct{}{}
		}
	}()

	for len(items) > 0 {
		item := items[0]
		items = items[1:]
		err := s.sell(ctx, l, item.SKU)
		var lost *locker.LostError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errSoldOut):
			continue
		case errors.As(err, &lost):
			s.tell(event{Kind: "lost", SKU: item.SKU, Token: lost.Token, Reason: lost.Reason.String()})
		case err != nil:
			return err
		}
		items = append(items, item)
	}
	return nil
}

// sell sells one piece of an item under the item's lock.
func (s *seller) sell(ctx context.Context, l *locker.Locker, sku SKU) error {
	e, asked := event{SKU: sku}, time.Now()
	g := guard.New[Item](l, stock.Key(sku))
	item, err := g.Run(ctx, func(ctx context.Context, h *locker.Hold) (Item, error) {
		e.Token, e.Waited = h.Token(), time.Since(asked)
		item, err := s.shop.load(sku)
		if err != nil {
			return item, err
		}
		if item.Stock == 0 {
			return item, errSoldOut
		}
		paid := time.After(saleTime)
		select {
		case <-s.slow:
			paid = time.After(time.Minute)
			e.Kind = "holds"
			s.tell(e)
		default:
		}
		select {
		case <-paid:
			return s.shop.sell(item, Sale{Token: h.Token(), Seller: s.name})
		case <-ctx.Done(): // the lock is lost, or the shop closes: sell nothing
			return item, context.Cause(ctx)
		}
	})
	if err == nil {
		e.Kind, e.Left = "sold", item.Stock
		s.tell(e)
	}
	return err
}
