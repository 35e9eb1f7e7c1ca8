package work

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are some 3% wide.
type histogram struct {
	buckets [(64 - steps) << steps]int64
	n       int64
}

const steps = 5 // log2 of the buckets from one power of two to the next

func (h *histogram) add(d time.Duration) {
	v := uint64(max(0, d))
	e := max(0, bits.Len64(v)-steps-1)
	h.buckets[uint64(e)<<steps+v>>e]++
	h.n++
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.n += o.n
}

// quantile returns the middle of the bucket with the value at q, from 0 for the least to 1 for the greatest; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := min(int64(q*float64(h.n)), h.n-1)
	for i, n := range h.buckets {
		if rank -= n; rank >= 0 || n == 0 {
			continue
		}
		if i < 1<<steps {
			return time.Duration(i)
		}
		e := i>>steps - 1
		low := uint64(i-e<<steps) << e
		return time.Duration(low + (uint64(1)<<e)/2)
	}
	return 0
}
