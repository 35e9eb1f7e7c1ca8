package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
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

// serves asks the member for the cluster's members, which takes a majority to answer, and looks for its own name.
func (m *Member) serves(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.client+"/v3/cluster/member/list",
		strings.NewReader(`{"linearizable":true}`))
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var list struct {
		Header struct {
			Self string `json:"member_id"`
		}
		Members []struct{ ID, Name string }
	}
	if json.NewDecoder(resp.Body).Decode(&list) != nil {
		return false
	}
	for _, member := range list.Members {
		if member.Name == m.name {
			return member.ID == list.Header.Self
		}
	}
	return false
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
