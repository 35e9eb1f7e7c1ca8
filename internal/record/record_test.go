package record

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRecordsAreWrittenAsJSONWritesThem(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`), rapid.StringMatching(`[a-z:/.0-9-]*`))
	fields := map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[int]():    rapid.Int().AsAny(),
		reflect.TypeFor[uint64](): rapid.Uint64().AsAny(),
		reflect.TypeFor[string](): texts.AsAny(),
		reflect.TypeFor[bool]():   rapid.Bool().AsAny(),
		reflect.TypeFor[[]byte](): rapid.SliceOf(rapid.Byte()).AsAny(),
		reflect.TypeFor[time.Time](): rapid.Custom(func(t *rapid.T) time.Time {
			zone := time.FixedZone("", 60*rapid.IntRange(-23*60, 23*60).Draw(t, "zone"))
			return time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).In(zone)
		}).AsAny(),
		reflect.TypeFor[*Request](): rapid.Custom(func(t *rapid.T) *Request {
			return &Request{By: texts.Draw(t, "by"), Reason: texts.Draw(t, "reason")}
		}).AsAny(),
		reflect.TypeFor[map[string]string](): rapid.MapOf(texts, texts).AsAny(),
	}
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		v := reflect.ValueOf(&r).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			usual := !slices.Contains([]string{"Evicted", "Until", "Request", "Annotations", "AnnouncedText", "AnnouncedBytes"}, name)
			if rapid.IntRange(0, 3).Draw(t, name+" set") > 0 == usual { // most are, of the usual ones
				v.Field(i).Set(reflect.ValueOf(fields[v.Field(i).Type()].Draw(t, name)))
			}
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Skip(err)
		}
		if got := string(r.Encode()); got != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestAnAnnouncementIsReadAsItWasWritten(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		r := Record{Version: Version, Owner: "a"}
		for range rapid.IntRange(1, 3).Draw(t, "n") { // the last one counts
			text := texts.Draw(t, "text")
			r.Announce(text)
			got, ok := Parse(r.Encode())
			if !ok || got.Announcement() != text || got.Owner != "a" {
				t.Errorf("%q is read as %q, %v", text, got.Announcement(), ok)
			}
		}
	})
}

func TestUsualRecordsAreWrittenWithoutJSON(t *testing.T) {
	r := Record{Version: Version, Owner: "host.example:4711", Mode: Exclusive, Since: time.Now(), Nonce: 1}
	if _, ok := r.appendPlain(nil); !ok {
		t.Error("it is not plain")
	}
}
