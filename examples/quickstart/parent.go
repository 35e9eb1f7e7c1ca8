package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/locker"
)

const (
	killed     = "ada" // dies in the middle of a sale
	evicted    = "ben" // loses its lock in the middle of a sale, after evictAfter
	evictAfter = 2500 * time.Millisecond
)

// A parent starts the sellers, prints what they tell, and makes things go
// wrong.
type parent struct {
	*child.Group[event] // the sellers
	locker              *locker.Locker
	args                []string // for all sellers
	began               time.Time
	ready               int
	orphan              SKU                    // the item whose lock the killed seller held
	reported            map[SKU][]locker.Token // the sales
}

func newParent(l *locker.Locker, args ...string) *parent {
	return &parent{
		Group:    child.NewGroup(func(name string, err error) event { return event{Seller: name, Kind: "ended", Err: err} }),
		locker:   l,
		args:     args,
		began:    time.Now(),
		reported: make(map[SKU][]locker.Token),
	}
}

// run starts the sellers and returns when all have ended. It stops them when
// ctx is done, or one of them fails.
func (p *parent) run(ctx context.Context) error {
	return p.Play(ctx, func(ctx context.Context) error {
		for _, name := range []string{killed, evicted, "cleo", "dan"} {
			if err := p.start(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}, func(ctx context.Context, e event) error {
		if err := p.handle(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", e.Seller, err)
		}
		return nil
	})
}

// start runs this program again, as a seller. Once ctx is done it closes the
// seller's standard input, which tells it to stop.
func (p *parent) start(ctx context.Context, name string) error {
	c, err := child.New(ctx, append(p.args, "-seller="+name)...)
	if err != nil {
		return err
	}
	c.Cmd.Cancel, c.Cmd.WaitDelay = c.Stdin.Close, 5*time.Second
	if err := c.Cmd.Start(); err != nil {
		return err
	}
	p.Add(name, c)
	return nil
}

func (p *parent) handle(ctx context.Context, e event) error {
	switch e.Kind {
	case "ready":
		p.print(e, "process %d", p.Processes[e.Seller].Cmd.Process.Pid)
		if p.ready++; p.ready == len(p.Processes) {
			for name := range p.Processes {
				p.order(name) // open the shop
			}
		}
	case "sold":
		p.print(e, "token %-8d waited %4d ms, %d left", e.Token, e.Waited.Milliseconds(), e.Left)
		p.reported[e.SKU] = append(p.reported[e.SKU], e.Token)
		if e.Seller == killed {
			p.order(killed)
		}
		if e.SKU == p.orphan { // the dead seller's lock has passed on
			p.orphan = ""
			p.order(evicted)
		}
	case "holds":
		p.print(e, "token %-8d waited %4d ms, and the customer takes a minute to pay", e.Token, e.Waited.Milliseconds())
		if e.Seller == killed {
			p.orphan = e.SKU
			p.print(event{Seller: killed, Kind: "KILLED", SKU: e.SKU}, "its lock is free when its lease ends")
			return p.Processes[killed].Cmd.Process.Kill()
		}
		time.AfterFunc(evictAfter, func() { p.evict(ctx, e) })
	case "lost":
		p.print(e, "token %-8d %s: it stops, and sells nothing", e.Token, e.Reason)
	case "ended":
		if e.Seller != killed && ctx.Err() == nil {
			return e.Err
		}
	}
	return nil
}

// order sends a line to a seller. It does not matter if the seller has ended.
func (p *parent) order(name string) { p.Processes[name].Say("") }

// evict takes the lock of e from its holder, as an operator would.
func (p *parent) evict(ctx context.Context, e event) {
	if ctx.Err() != nil {
		return
	}
	p.print(event{Seller: e.Seller, Kind: "EVICTED", SKU: e.SKU}, "the lock goes to the next in the queue")
	if _, err := p.locker.Evict(ctx, stock.Key(e.SKU)); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
	}
}

func (p *parent) print(e event, format string, args ...any) {
	fmt.Printf("%5.2fs  %-4s  %-7s  %-6s  %s\n",
		time.Since(p.began).Seconds(), e.Seller, e.Kind, e.SKU, fmt.Sprintf(format, args...))
}

// books checks every item and prints what has become of it.
func (p *parent) books(shop shop, items []Item) error {
	var first, sold, left int
	fmt.Println()
	for _, item := range items {
		now, err := shop.load(item.SKU)
		if err == nil {
			err = check(item, now, p.reported[item.SKU])
		}
		if err != nil {
			return fmt.Errorf("check failed: %w", err)
		}
		fmt.Printf("%-6s  %d at first: %d in the ledger, %d reported as sold, %d left\n",
			item.SKU, item.Stock, len(now.Ledger), len(p.reported[item.SKU]), now.Stock)
		first, sold, left = first+item.Stock, sold+len(now.Ledger), left+now.Stock
	}
	fmt.Printf("check passed: of %d pieces, %d sold and %d left; nothing oversold, nothing lost\n", first, sold, left)
	return nil
}
