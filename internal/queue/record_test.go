package queue

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
)

// An Entry keeps a whole record only where it has to. Who adds a field to the record sees here that it is kept.
func TestAnEntryKeepsWhatItsRecordIsGiven(t *testing.T) {
	later := []string{"Evicted", "Retained", "Until", "Request"} // put by others, or by retain and linger
	inBed(t, func(t *testing.T, b *bed) {
		l := proctest.Must(b.Leases.Use(t.Context(), 100))
		for field := range reflect.TypeFor[record.Record]().Fields() {
			if slices.Contains(later, field.Name) {
				continue
			}
			given := record.Record{Mode: record.Exclusive}
			if field.Name == "Slots" || field.Name == "Weight" {
				given = record.Record{Mode: record.Slots, Slots: 5, Weight: 1}
			}
			switch v := reflect.ValueOf(&given).Elem().FieldByIndex(field.Index); v.Interface().(type) {
			case string:
				v.SetString(map[bool]string{true: record.Shared, false: "text"}[field.Name == "Mode"])
			case int:
				v.SetInt(3)
			case uint64:
				v.SetUint(3)
			case time.Time:
				v.Set(reflect.ValueOf(time.Now()))
			case map[string]string:
				v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
			case []byte:
				v.SetBytes([]byte("\xff"))
			default:
				t.Errorf("%s: this test does not know how to set it", field.Name)
			}
			e := b.Entry(key, l, given, nil)
			given.Version, given.Nonce = record.Version, e.Record().Nonce
			if got := e.Record(); !reflect.DeepEqual(got, given) {
				t.Errorf("with %s: got %+v, want %+v", field.Name, got, given)
			}
		}
	})
}
