package etcdsim

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// maxUnaryTries is how often etcd's client makes a unary call at most.
const maxUnaryTries = 100

// An auth knows the tokens that are good. The Sim's mutex guards it.
type auth struct {
	life   time.Duration // of a token; 0 while none is needed
	fixed  bool          // life counts from the login, not from the last use
	good   map[string]time.Time
	issued int
}

// RequireTokens switches authentication on. Clients log in as etcd's do: for each new stream, which keeps that token, and
// when a unary call is refused because its token is missing or dead. A token is good for life after its last use, as etcd's
// simple tokens are. If fixed is set, it is good for life after the login, as a JWT is. A life of 0 switches it off.
//
// All users may do everything.
func (s *Sim) RequireTokens(life time.Duration, fixed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.life, s.auth.fixed = life, fixed
	s.auth.good = make(map[string]time.Time)
}

// ExpireTokens ends all tokens, as a change of the user's password or roles does.
func (s *Sim) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.auth.good)
}

// check finds out who makes a request, and has the token live longer.
func (a *auth) check(token string) error {
	if a.life == 0 {
		return nil
	}
	if token == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	now := time.Now()
	end, ok := a.good[token]
	if !ok || !now.Before(end) {
		delete(a.good, token)
		return rpctypes.ErrGRPCInvalidAuthToken
	}
	if !a.fixed {
		a.good[token] = now.Add(a.life)
	}
	return nil
}

func (s *Sim) checkToken(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.check(token)
}

func (s *Sim) authenticate() (*pb.AuthenticateResponse, error) {
	a := &s.auth
	if a.life == 0 {
		return nil, rpctypes.ErrGRPCAuthNotEnabled
	}
	a.issued++
	token := fmt.Sprintf("token.%d", a.issued)
	a.good[token] = time.Now().Add(a.life)
	return &pb.AuthenticateResponse{Header: s.header(), Token: token}, nil
}

func (s *Sim) needsTokens() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.life > 0
}

// login gets a new token for the client. It is a call of its own, with a fate of its own.
func (c *Client) login(ctx context.Context) error {
	req := &pb.AuthenticateRequest{Name: c.name, Password: c.name}
	c.mu.Lock()
	c.logins++
	c.mu.Unlock()
	resp, err := c.call(ctx, req, "", c.fate(Call{Client: c.name, Method: "Authenticate", Request: req}))
	token := ""
	switch {
	case errors.Is(err, rpctypes.ErrGRPCAuthNotEnabled):
	case err != nil:
		return err
	default:
		token = resp.(*pb.AuthenticateResponse).Token
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
	return nil
}

// Logins is how often the client has asked for a token.
func (c *Client) Logins() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logins
}

func (c *Client) currentToken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// wantsLogin reports whether etcd's client repeats a call that failed with err after a new login.
func wantsLogin(err error) bool {
	return errors.Is(err, rpctypes.ErrGRPCInvalidAuthToken) || errors.Is(err, rpctypes.ErrGRPCAuthOldRevision) ||
		errors.Is(err, rpctypes.ErrGRPCUserEmpty)
}
