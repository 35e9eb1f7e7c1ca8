package sql_test

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
)

// A postgres is a server of the tests' own, on a socket in its directory.
type postgres struct {
	dir string
	cmd *exec.Cmd
	log bytes.Buffer
}

// server starts the server, once. It returns nil if PostgreSQL is not installed.
var server = sync.OnceValues(startPostgres)

var stopServer = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopServer()
	os.Exit(code)
}

var schemas atomic.Int64

// openPostgres returns a database with an empty schema, or skips the test.
func openPostgres(t *testing.T) *stdsql.DB {
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		t.Skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql; on Debian, apt-get install postgresql")
	}
	schema := fmt.Sprint("test", schemas.Add(1))
	if err := s.exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	db, err := stdsql.Open("pgx", s.dsn()+" search_path="+schema)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func startPostgres() (*postgres, error) {
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if len(found) == 0 {
			return nil, nil
		}
		initdb = found[len(found)-1]
	}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path is limited
	if err != nil {
		return nil, err
	}
	s := &postgres{dir: dir}
	as, err := s.account()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	init := exec.Command(initdb, "--pgdata="+data, "--username=postgres", "--auth=trust", "--no-sync")
	init.SysProcAttr, init.Dir = as, dir
	if out, err := init.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("%v: %w\n%s", init, err, out)
	}
	s.cmd = exec.Command(filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-k", dir, "-h", "", "-F")
	s.cmd.SysProcAttr, s.cmd.Dir, s.cmd.Stderr = as, dir, &s.log
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	stopServer = s.stop
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { // the period of a poll
		err := s.exec(context.Background(), "SELECT 1")
		if err == nil {
			return s, nil
		}
		if time.Since(began) > time.Minute {
			return nil, fmt.Errorf("start PostgreSQL: %w\n%s", err, &s.log)
		}
	}
}

// account returns what makes a command run as a user that PostgreSQL accepts:
// not as root. The directory becomes that user's.
func (s *postgres) account() (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, os.Chown(s.dir, uid, gid)
}

func (s *postgres) dsn() string { return "host=" + s.dir + " user=postgres dbname=postgres" }

func (s *postgres) exec(ctx context.Context, statement string) error {
	db, err := stdsql.Open("pgx", s.dsn())
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}

func (s *postgres) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt) // ends the connections, too
	_ = s.cmd.Wait()
	os.RemoveAll(s.dir)
}
