package locker

import "github.com/phpgao/elock/internal/entry"

// A Token is a fencing token: a number that grows with every grant of a lock,
// whoever it is granted to. A resource that remembers the highest token it has
// seen, and refuses lower ones, is safe from a holder that wakes up late.
//
// Tokens of one key compare as numbers. They fit a signed 64-bit column. They
// are taken from etcd's revision, and so can go back only when etcd is
// restored from a backup without --bump-revision.
type Token uint64

// The low bits leave room for grants that pass from hand to hand within one
// entry in etcd; 47 bits of revision last for centuries.
const tokenShift = 16

func tokenOf(createRevision int64) Token { return Token(createRevision) << tokenShift }

// tokenFor is that of the hold that g is for.
func tokenFor(g entry.Grant) Token { return tokenOf(g.Entry.Rev) + Token(g.Turn) }
