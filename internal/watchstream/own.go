package watchstream

import (
	"context"

	"google.golang.org/grpc/metadata"
)

// Own returns ctx without outgoing gRPC metadata. What a caller sends to other
// services, such as an authorization or a request id, is not for etcd. All other
// values stay.
func Own(ctx context.Context) context.Context {
	if md, ok := metadata.FromOutgoingContext(ctx); !ok || len(md) == 0 {
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, metadata.MD{})
}
