package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Get returns what the member serves at path over HTTP, such as /metrics or /version.
func (m *Member) Get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.client+path, nil)
	if err != nil {
		return nil, err
	}
	return m.do(req)
}

// login returns a token of the root user's.
func (m *Member) login(ctx context.Context) (string, error) {
	if m.cfg.User == "" {
		return "", errors.New("member: no user")
	}
	var answer struct{ Token string }
	in := map[string]string{"name": m.cfg.User, "password": m.cfg.Password}
	err := m.call(ctx, "/v3/auth/authenticate", "", in, &answer)
	return answer.Token, err
}

// call sends one request to etcd's JSON gateway. An empty token is none.
func (m *Member) call(ctx context.Context, path, token string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.client+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	answer, err := m.do(req)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

func (m *Member) do(req *http.Request) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: m.cfg.TLS}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("member: %s: %s: %s", req.URL, resp.Status, body)
	}
	return body, nil
}
