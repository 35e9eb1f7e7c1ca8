package guard_test

import (
	"bytes"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/phpgao/elock/guard"
)

type account struct {
	Owner   string         `json:"owner"`
	Balance int64          `json:"balance"`
	Tags    map[string]int `json:"tags,omitempty"`
}

// wantRoundTrip fails the test unless codec writes v as want, and reads it back.
func wantRoundTrip[T any](t *testing.T, codec guard.Codec[T], v T, want string) {
	t.Helper()
	data, err := codec.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	if string(data) != want {
		t.Errorf("%#v is written as %q, want %q", v, data, want)
	}
	back, err := codec.Unmarshal(data)
	if err != nil || !reflect.DeepEqual(back, v) {
		t.Errorf("%q is read as %#v, %v; want %#v", data, back, err, v)
	}
}

func TestACodecReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	wantRoundTrip(t, guard.JSON[int](), -7, "-7")
	wantRoundTrip(t, guard.JSON[*int](), nil, "null")
	wantRoundTrip(t, guard.JSON[account](), account{"ann", 8, map[string]int{"a": 1}}, `{"owner":"ann","balance":8,"tags":{"a":1}}`)
	wantRoundTrip(t, guard.Text[netip.Addr](), netip.MustParseAddr("192.0.2.1"), "192.0.2.1")
	wantRoundTrip(t, guard.Text[netip.Addr](), netip.Addr{}, "")
	wantRoundTrip(t, guard.Binary[netip.Addr](), netip.MustParseAddr("192.0.2.1"), "\xc0\x00\x02\x01")
	wantRoundTrip(t, guard.Binary[time.Time](), time.Unix(0, 0).UTC(), "\x01\x00\x00\x00\x0e\x77\x91\xf7\x00\x00\x00\x00\x00\xff\xff")
	wantRoundTrip(t, guard.Bytes[string](), "\x00\xff any bytes", "\x00\xff any bytes")
	wantRoundTrip(t, guard.Bytes[[]byte](), []byte("\x00\xff any bytes"), "\x00\xff any bytes")
	wantRoundTrip(t, guard.Bytes[[]byte](), []byte{}, "")
}

func TestACodecReportsWhatItCannotWriteOrRead(t *testing.T) {
	t.Parallel()
	if _, err := guard.JSON[float64]().Marshal(math.NaN()); err == nil {
		t.Error("NaN is JSON")
	}
	for _, data := range []string{"", "{", "1 2", `"text"`} {
		if v, err := guard.JSON[int]().Unmarshal([]byte(data)); err == nil {
			t.Errorf("%q is read as %v", data, v)
		}
	}
	if v, err := guard.Text[netip.Addr]().Unmarshal([]byte("nowhere")); err == nil {
		t.Errorf("it is read as %v", v)
	}
	if v, err := guard.Binary[netip.Addr]().Unmarshal([]byte("nowhere")); err == nil {
		t.Errorf("it is read as %v", v)
	}
}

func TestBytesThatWereReadAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	data := []byte("value")
	v, err := guard.Bytes[[]byte]().Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	v[0] = 'V'
	if !bytes.Equal(data, []byte("value")) {
		t.Error("they are shared")
	}
}
