package nemesis_test

import (
	"os"
	"syscall"
	"unsafe"
)

// now reads the clock that all processes share and nobody sets: nanoseconds since the machine started.
func now() int64 {
	const monotonic = 1
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		panic(os.NewSyscallError("clock_gettime", errno))
	}
	return t.Nano()
}
