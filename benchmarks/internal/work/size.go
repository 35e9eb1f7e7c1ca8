package work

import (
	"fmt"
	"os"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A size is that of an etcd: its memory, and its file. What cannot be found out is 0.
type size struct{ resident, file int64 }

func (s *Site) size(b *testing.B, client *clientv3.Client) (z size) {
	b.Helper()
	status, err := client.Status(b.Context(), s.endpoints[0])
	if err != nil {
		b.Fatal(err)
	}
	z.file = status.DbSize
	if s.etcd == nil {
		return z
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.etcd.Pid()))
	if err != nil { // no Linux
		return z
	}
	if _, after, ok := strings.Cut(string(data), "VmRSS:"); ok {
		fmt.Sscan(after, &z.resident)
		z.resident *= 1024
	}
	return z
}

func (z size) report(b *testing.B, when string) {
	if z.resident > 0 {
		b.ReportMetric(float64(z.resident), "etcd-"+when+"-B")
	}
	b.ReportMetric(float64(z.file), "db-"+when+"-B")
}
