//go:build !unix

package process

import (
	"errors"
	"os"
	"syscall"
)

func attr() *syscall.SysProcAttr { return nil }

func foreignAttr() (*syscall.SysProcAttr, error) { return nil, errors.ErrUnsupported }

func tryLock(*os.File) bool { return true }

func pause(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) error { return errors.ErrUnsupported }
