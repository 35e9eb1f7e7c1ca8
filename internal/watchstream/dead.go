package watchstream

import (
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// refusals are the errors of a watch whose stream has an old token, or none.
// Permission denied is one of them: until 3.5, etcd gives that reason for all.
var refusals = []error{
	rpctypes.ErrInvalidAuthToken,
	rpctypes.ErrAuthOldRevision,
	rpctypes.ErrUserEmpty,
	rpctypes.ErrPermissionDenied,
}

// Dead reports whether err is the error of a watch that etcd refused because of
// its stream's token, so that a fresh stream may help. It is also true for a
// user without permission: a read of the same keys tells the two apart.
func Dead(err error) bool {
	if err == nil {
		return false
	}
	// The client makes the error of a refused watch from the reason's text.
	text := err.Error()
	for _, r := range refusals {
		if errors.Is(err, r) || strings.HasSuffix(text, "desc = "+rpctypes.ErrorDesc(r)) {
			return true
		}
	}
	return false
}
