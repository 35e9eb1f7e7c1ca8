// Package locktest is what the tests of several packages share: they wait, they take locks, and they expect errors. It is test
// only: no package that a program uses imports it.
package locktest
