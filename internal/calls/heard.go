package calls

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/health"
)

// Silence returns since when transactions, grants and revocations are not answered, and the last error of one; the zero time if
// nothing says so.
func (c *Client) Silence() (since time.Time, err error) { return c.heard.Silence() }

// Unheard notes that what was sent at that time, and all of its kind since, has failed with such errors.
func (c *Client) Unheard(sent clock.Instant, err error) {
	if !refused(err) {
		c.heard.Failed(int64(sent.Mono), err)
	}
}

// refused reports whether err is an answer of etcd that says no.
func refused(err error) bool { return etcderr.Refused(err) && !etcderr.Passing(err) }

// hear notes what the end of a call says of etcd. A refusal is an answer. What a caller has soon given up says nothing.
func (c *Client) hear(sent int64, err error) {
	waited := time.Duration(clock.Mono() - sent)
	gaveUp := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	switch {
	case err == nil, refused(err):
		c.heard.Answered()
	case etcderr.Passing(err):
		c.heard.Failed(sent, err)
	case gaveUp && waited >= health.Patience:
		c.heard.Failed(sent, fmt.Errorf("no answer for %v", waited.Round(time.Millisecond)))
	}
}
