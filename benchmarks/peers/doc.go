// Package peers compares elock with locks on Redis.
package peers
