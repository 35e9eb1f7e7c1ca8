package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

func TestShopSellsEverythingOnce(t *testing.T) {
	var args []string
	own := os.Getenv("ELOCK_TEST_ENDPOINTS") == ""
	if !own {
		args = []string{"-endpoints", strings.Join(etcdtest.Start(t).Endpoints(), ",")}
	}
	r := start(t, build(t), args...)
	out := r.wait(t, 2*time.Minute)

	for _, want := range []string{
		`ada +KILLED`,
		`ben +EVICTED`,
		`ben +lost .* evicted: it stops, and sells nothing`,
		`waited [23]\d{3} ms`, // for the lease of the killed seller
		`check passed: of 21 pieces, 21 sold and 0 left`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the output does not match %q", want)
		}
	}
	if n := strings.Count(out, "\n"); n > 60 {
		t.Errorf("got %d lines of output, want at most 60", n)
	}
	r.checkNothingLeft(t, out)
	if own {
		if conn, err := net.Dial("tcp", find(t, out, `etcd at (\S+),`)[0]); err == nil {
			conn.Close()
			t.Error("the program's own etcd still runs")
		}
	}
}

func TestInterruptClosesTheShop(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no interrupts")
	}
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	exe := build(t)
	for _, moment := range []string{"ready", "sold", "KILLED", "EVICTED"} {
		t.Run(moment, func(t *testing.T) {
			r := start(t, exe, "-endpoints", strings.Join(etcd.Endpoints(), ","))
			r.until(t, moment)
			if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			out := r.wait(t, 10*time.Second)
			if !strings.Contains(out, "interrupted: all sellers have stopped") || !strings.Contains(out, "check passed:") {
				t.Error("the output lacks the end")
			}
			r.checkNothingLeft(t, out)
			prefix := find(t, out, `locks under (\S+),`)[0]
			resp, err := client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
			if err != nil {
				t.Fatal(err)
			}
			if resp.Count != 0 {
				t.Errorf("%d keys are left: %v", resp.Count, resp.Kvs)
			}
		})
	}
}

func TestUnreachableEtcdIsAnError(t *testing.T) {
	r := start(t, build(t), "-endpoints", "127.0.0.1:1")
	if err := r.ended(t, 30*time.Second); err == nil {
		t.Error("exit code 0")
	}
}

func TestShopRefusesAnOldToken(t *testing.T) {
	s := shop{t.TempDir()}
	item := Item{SKU: "mug", Stock: 2}
	if err := s.store(item); err != nil {
		t.Fatal(err)
	}
	if _, err := s.sell(item, Sale{Token: 7}); err != nil {
		t.Fatal(err)
	}
	for _, token := range []locker.Token{6, 7} {
		if _, err := s.sell(item, Sale{Token: token}); err == nil {
			t.Errorf("sold under token %d, after a sale under token 7", token)
		}
	}
	if now, err := s.load("mug"); err != nil || check(item, now, []locker.Token{7}) != nil {
		t.Errorf("the books are wrong: %+v, %v", now, err)
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	first := Item{Stock: 2}
	for name, tt := range map[string]struct {
		now      Item
		reported []locker.Token
	}{
		"oversold":   {now: Item{Stock: -1, Ledger: []Sale{{Token: 1}, {Token: 2}, {Token: 3}}}},
		"lost piece": {now: Item{Stock: 0, Ledger: []Sale{{Token: 1}}}},
		"lost sale":  {now: Item{Stock: 1, Ledger: []Sale{{Token: 2}}}, reported: []locker.Token{1, 2}},
	} {
		if check(first, tt.now, tt.reported) == nil {
			t.Errorf("%s: not found", name)
		}
	}
	unreported := Item{Stock: 1, Ledger: []Sale{{Token: 1}}} // by a seller that was killed
	if err := check(first, unreported, nil); err != nil {
		t.Error(err)
	}
}

// A running is the program, started.
type running struct {
	cmd   *exec.Cmd
	temp  string // its directory for temporary files
	lines *bufio.Scanner
	out   bytes.Buffer
	errs  bytes.Buffer
}

func start(t *testing.T, exe string, args ...string) *running {
	t.Helper()
	r := &running{cmd: exec.CommandContext(t.Context(), exe, args...), temp: t.TempDir()}
	r.cmd.Env = append(os.Environ(), "TMPDIR="+r.temp, "TMP="+r.temp, "TEMP="+r.temp)
	r.cmd.Stderr = &r.errs
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(stdout)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// build builds the program, with the race detector if this test has it.
func build(t *testing.T) string {
	t.Helper()
	args := []string{"build", "-o", filepath.Join(t.TempDir(), "quickstart.exe")}
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			args = append(args, "-race")
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	return args[2]
}

// until reads the output as far as a line that matches.
func (r *running) until(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for r.lines.Scan() {
		r.out.WriteString(r.lines.Text() + "\n")
		if re.MatchString(r.lines.Text()) {
			return
		}
	}
	err := r.cmd.Wait()
	t.Fatalf("the program ended before %q: %v\n%s%s", pattern, err, r.out.Bytes(), r.errs.Bytes())
}

// wait returns all output of a program that ends in time, and well.
func (r *running) wait(t *testing.T, limit time.Duration) string {
	t.Helper()
	if err := r.ended(t, limit); err != nil {
		t.Errorf("the program failed: %v\n%s", err, r.errs.Bytes())
	}
	return r.out.String()
}

func (r *running) ended(t *testing.T, limit time.Duration) error {
	t.Helper()
	late := time.AfterFunc(limit, func() { r.cmd.Process.Kill() })
	for r.lines.Scan() {
		r.out.WriteString(r.lines.Text() + "\n")
	}
	err := r.cmd.Wait()
	if !late.Stop() {
		t.Errorf("still running after %v", limit)
	}
	t.Logf("the program printed:\n%s%s", r.out.Bytes(), r.errs.Bytes())
	return err
}

func (r *running) checkNothingLeft(t *testing.T, out string) {
	t.Helper()
	if files, err := os.ReadDir(r.temp); err != nil || len(files) > 0 {
		t.Errorf("temporary files are left: %v %v", files, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for _, pid := range find(t, out, `ready .* process (\d+)`) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(n)
		if err == nil {
			err = p.Signal(syscall.Signal(0))
		}
		if !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("seller %d still runs: %v", n, err)
		}
	}
}

// find returns what the group in pattern matches, once at least.
func find(t *testing.T, out, pattern string) (found []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(out, -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("the output does not match %q", pattern)
	}
	return found
}
