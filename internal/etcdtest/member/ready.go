package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// startTimeout is generous: two cores may be starting several clusters at once.
const startTimeout = time.Minute

var errPortTaken = errors.New("port is taken")

// waitReady returns once the member answers a linearizable request, or with the end of its log if it does not.
func (m *Member) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ended := m.process().Done()
	for {
		if m.serves(ctx) {
			return nil
		}
		select {
		case <-ended:
			return m.startError(errors.New("etcd ended"))
		case <-ctx.Done():
			return m.startError(ctx.Err())
		case <-tick.C:
		}
	}
}

// serves asks the member for the cluster's members and looks for its own name, so that it is not taken for another server on
// its port; then it asks for its health, which takes a majority.
func (m *Member) serves(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var list struct {
		Header struct {
			Self string `json:"member_id"`
		}
		Members []struct{ ID, Name string }
	}
	if m.call(ctx, "/v3/cluster/member/list", "", struct{}{}, &list) != nil {
		token, err := m.login(ctx)
		if err != nil || m.call(ctx, "/v3/cluster/member/list", token, struct{}{}, &list) != nil {
			return false
		}
	}
	for _, member := range list.Members {
		if member.Name == m.name {
			return member.ID == list.Header.Self && m.healthy(ctx)
		}
	}
	return false
}

func (m *Member) healthy(ctx context.Context) bool {
	body, err := m.Get(ctx, "/health?exclude=NOSPACE&exclude=CORRUPT") // an alarm is no reason to wait
	var answer struct{ Health string }
	return err == nil && json.Unmarshal(body, &answer) == nil && answer.Health == "true"
}

func (m *Member) startError(cause error) error {
	log, _ := os.ReadFile(m.log())
	if bytes.Contains(log, []byte("address already in use")) {
		cause = errPortTaken
	}
	if tail := 4096; len(log) > tail {
		log = log[len(log)-tail:]
	}
	return fmt.Errorf("member: %s does not serve: %w\n%s", m.Endpoint(), cause, log)
}
