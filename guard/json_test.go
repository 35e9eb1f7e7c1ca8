package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/phpgao/elock/guard"
)

// A parcel is a value of many kinds of fields, as an old version of a program knows it.
type parcel struct {
	Name    string            `json:"name"`
	Count   int               `json:"count,omitempty"`
	Weight  float64           `json:"weight,omitempty"`
	Sent    *time.Time        `json:"sent,omitempty"`
	Any     any               `json:"any,omitempty"`
	Inner   *parcel           `json:"inner,omitempty"`
	Parts   []parcel          `json:"parts,omitempty"`
	ByName  map[string]parcel `json:"byName,omitempty"`
	Raw     json.RawMessage   `json:"raw,omitempty"`
	Price   price             `json:"price,omitzero"`
	Hidden  int               `json:"-"`
	Sizes   []float64         `json:"sizes,omitempty"`
	Periods []time.Time       `json:"periods,omitempty"`
	Box     box               `json:"box,omitzero"`
	Pair    [2]size           `json:"pair,omitzero"`
	address
}

type size struct {
	X int `json:"x"`
}

type box struct {
	X  int               `json:"x"`
	In inBox             `json:"in,omitzero"`
	M  map[string]parcel `json:"m,omitempty"`
}

type inBox struct {
	Y int `json:"y"`
}

type address struct {
	City string `json:"city,omitempty"`
}

// A price is an object or a string, and always written as a string.
type price string

func (p *price) UnmarshalJSON(data []byte) error {
	var o struct{ Amount, Currency string }
	if err := json.Unmarshal(data, &o); err == nil {
		*p = price(o.Amount + " " + o.Currency)
		return nil
	}
	return json.Unmarshal(data, (*string)(p))
}

// tree returns the value of a document, with its numbers as they are written.
func tree(tb testing.TB, data []byte) (v any) {
	tb.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		tb.Fatalf("%s: %v", data, err)
	}
	return v
}

// merged returns what an update of old with fn stores.
func merged[T any](tb testing.TB, old string, fn func(*T), opts ...guard.JSONOption) (string, error) {
	tb.Helper()
	codec := guard.JSON[T](opts...).(guard.Merger[T])
	value, err := codec.Unmarshal([]byte(old))
	if err != nil {
		tb.Fatalf("%s: %v", old, err)
	}
	fn(&value)
	data, err := codec.Merge([]byte(old), value)
	return string(data), err
}

func TestJSONMerge(t *testing.T) {
	t.Parallel()
	rename := func(p *parcel) { p.Name = "b" }
	for name, row := range map[string]struct {
		old  string
		fn   func(*parcel)
		want string // "": ErrLossy
	}{
		"nothing to keep":           {`{"name":"a","count":1}`, rename, `{"name":"b","count":1}`},
		"written by hand":           {" { \"count\": 1,\n\"name\":\"a\" } ", rename, `{"name":"b","count":1}`},
		"not changed":               {`{"name":"a", "x":1e2, "x":3}`, func(*parcel) {}, `{"name":"a", "x":1e2, "x":3}`},
		"unknown member":            {`{"name":"a","color":"red"}`, rename, `{"name":"b","color":"red"}`},
		"unknown and empty":         {`{"name":"a","color":"","size":0,"more":null}`, rename, `{"name":"b","color":"","size":0,"more":null}`},
		"unknown object":            {`{"name":"a","x":{"y":[1.0,{"z":9007199254740993}]}}`, rename, `{"name":"b","x":{"y":[1.0,{"z":9007199254740993}]}}`},
		"by its name in Go":         {`{"name":"a","Hidden":7}`, rename, `{"name":"b","Hidden":7}`},
		"known, empty, left out":    {`{"name":"a","count":0}`, rename, `{"name":"b","count":0}`},
		"known, empty, set":         {`{"name":"a","count":0}`, func(p *parcel) { p.Count = 7 }, `{"name":"a","count":7}`},
		"known, now empty":          {`{"name":"a","count":7,"x":1}`, func(p *parcel) { p.Count = 0 }, `{"name":"a","x":1}`},
		"embedded":                  {`{"name":"a","city":"Rome","zip":"0"}`, func(p *parcel) { p.City = "Oslo" }, `{"name":"a","city":"Oslo","zip":"0"}`},
		"behind a pointer":          {`{"name":"a","inner":{"name":"i","x":1}}`, func(p *parcel) { p.Inner.Name = "j" }, `{"name":"a","inner":{"name":"j","x":1}}`},
		"behind another pointer":    {`{"name":"a","inner":{"name":"i","x":1}}`, func(p *parcel) { p.Inner = &parcel{Name: "j"} }, `{"name":"a","inner":{"name":"j","x":1}}`},
		"behind a pointer, now nil": {`{"name":"a","inner":{"name":"i","x":1}}`, func(p *parcel) { p.Inner = nil }, `{"name":"a"}`},
		"in a map": {`{"name":"a","byName":{"k":{"name":"i","x":1},"l":{"name":"l","x":2}}}`, func(p *parcel) {
			p.ByName["k"] = parcel{Name: "j"}
			delete(p.ByName, "l")
			p.ByName["m"] = parcel{Name: "m"}
		}, `{"name":"a","byName":{"k":{"name":"j","x":1},"m":{"name":"m"}}}`},
		"in a slice, elsewhere changed": {`{"name":"a","parts":[{"name":"i","x":1}]}`, rename, `{"name":"b","parts":[{"name":"i","x":1}]}`},
		"in a slice, moved": {`{"name":"a","parts":[{"name":"i","x":1},{"name":"j"},{"name":"i","x":2}]}`, func(p *parcel) {
			p.Parts = []parcel{{Name: "new"}, p.Parts[0], p.Parts[2]}
		}, `{"name":"a","parts":[{"name":"new"},{"name":"i","x":1},{"name":"i","x":2}]}`},
		"in a slice, its neighbour changed":     {`{"name":"a","parts":[{"name":"i","x":1},{"name":"j"}]}`, func(p *parcel) { p.Parts[1].Name = "k" }, `{"name":"a","parts":[{"name":"i","x":1},{"name":"k"}]}`},
		"in a slice, changed":                   {`{"name":"a","parts":[{"name":"i","x":1}]}`, func(p *parcel) { p.Parts[0].Name = "j" }, ""},
		"in a slice, changed, unknown empty":    {`{"name":"a","parts":[{"name":"i","x":""}]}`, func(p *parcel) { p.Parts[0].Name = "j" }, ""},
		"in a slice, changed, known empty":      {`{"name":"a","parts":[{"name":"i","count":0}]}`, func(p *parcel) { p.Parts[0].Name = "j" }, `{"name":"a","parts":[{"name":"j"}]}`},
		"in a slice, removed":                   {`{"name":"a","parts":[{"name":"i","x":1},{"name":"j","x":2}]}`, func(p *parcel) { p.Parts = p.Parts[1:] }, `{"name":"a","parts":[{"name":"j","x":2}]}`},
		"in a slice, one of two alike":          {`{"name":"a","parts":[{"name":"i","x":1},{"name":"i","x":1}]}`, func(p *parcel) { p.Parts = p.Parts[1:] }, `{"name":"a","parts":[{"name":"i","x":1}]}`},
		"in a slice, which of two":              {`{"name":"a","parts":[{"name":"i","x":1},{"name":"i","x":2}]}`, func(p *parcel) { p.Parts = p.Parts[1:] }, ""},
		"in a slice, one removed, one added":    {`{"name":"a","parts":[{"name":"i","x":1}]}`, func(p *parcel) { p.Parts[0] = parcel{Name: "new"} }, ""},
		"in a slice, all removed":               {`{"name":"a","parts":[{"name":"i","x":1}]}`, func(p *parcel) { p.Parts = []parcel{} }, `{"name":"a"}`},
		"a struct left out, set":                {`{"name":"a","box":{"x":0,"u":1}}`, func(p *parcel) { p.Box.X = 5 }, `{"name":"a","box":{"x":5,"u":1}}`},
		"a struct left out, another kind":       {`{"name":"a","price":{"x":1}}`, func(p *parcel) { p.Price = "2 EUR" }, ""},
		"an array left out, set":                {`{"name":"a","pair":[{"x":0,"u":1},{}]}`, func(p *parcel) { p.Pair[0].X = 5 }, ""},
		"an array left out, all known":          {`{"name":"a","pair":[{},{}]}`, func(p *parcel) { p.Pair[0].X = 5 }, `{"name":"a","pair":[{"x":5},{"x":0}]}`},
		"an array, now zero":                    {`{"name":"a","pair":[{"x":5,"u":1},{"x":0}]}`, func(p *parcel) { p.Pair[0].X = 0 }, `{"name":"a","pair":[{"u":1},null]}`},
		"a struct, now zero":                    {`{"name":"a","box":{"x":5,"u":1}}`, func(p *parcel) { p.Box.X = 0 }, `{"name":"a","box":{"u":1}}`},
		"structs within, now zero":              {`{"name":"a","box":{"x":5,"u":1,"in":{"y":1,"v":2}}}`, func(p *parcel) { p.Box = box{} }, `{"name":"a","box":{"u":1,"in":{"v":2}}}`},
		"a struct with a map, now zero":         {`{"name":"a","box":{"x":5,"u":1,"in":{"y":1,"v":2},"m":{"k":{"name":"k","w":3}}}}`, func(p *parcel) { p.Box = box{} }, `{"name":"a","box":{"u":1,"in":{"v":2}}}`},
		"a struct now zero, a pointer now nil":  {`{"name":"a","box":{"x":5,"u":1},"inner":{"name":"i","x":1}}`, func(p *parcel) { p.Box, p.Inner = box{}, nil }, `{"name":"a","box":{"u":1}}`},
		"behind a pointer, structs within":      {`{"name":"a","inner":{"name":"i","z":1,"box":{"x":5,"u":1}}}`, func(p *parcel) { p.Inner = nil }, `{"name":"a"}`},
		"all entries of a map":                  {`{"name":"a","byName":{"k":{"name":"k","x":1},"l":{"name":"l","x":2}}}`, func(p *parcel) { p.ByName = nil }, `{"name":"a"}`},
		"alike, one prepended":                  {`{"name":"a","parts":[{"name":"i","x":1},{"name":"i","x":2}]}`, func(p *parcel) { p.Parts = append([]parcel{{Name: "new"}}, p.Parts...) }, `{"name":"a","parts":[{"name":"new"},{"name":"i","x":1},{"name":"i","x":2}]}`},
		"alike, the first removed":              {`{"name":"a","parts":[{"name":"j"},{"name":"i","x":1},{"name":"i","x":2},{"name":"i","x":3}]}`, func(p *parcel) { p.Parts = p.Parts[1:] }, `{"name":"a","parts":[{"name":"i","x":1},{"name":"i","x":2},{"name":"i","x":3}]}`},
		"alike, one with nothing besides":       {`{"name":"a","parts":[{"name":"i","x":1},{"name":"i"}]}`, func(p *parcel) { p.Parts = p.Parts[1:] }, ""},
		"alike, written otherwise":              {`{"name":"a","parts":[{"name":"i","count":0},{"name":"i"}]}`, func(p *parcel) { p.Parts = p.Parts[:1] }, `{"name":"a","parts":[{"name":"i","count":0}]}`},
		"a rounded number, its element changed": {`{"name":"a","parts":[{"name":"i","weight":1234567890123456789}]}`, func(p *parcel) { p.Parts[0].Count = 2 }, ""},
		"a rounded number of a slice":           {`{"name":"a","sizes":[1234567890123456789,5]}`, func(p *parcel) { p.Sizes[1] = 6 }, `{"name":"a","sizes":[1234567890123456789,6]}`},
		"a name with U+FFFD":                    {"{\"name\":\"a\",\"\ufffd\":1,\"\\ufffd\\\\ud800\":2,\"\\ud83d\\ude00\":3}", rename, "{\"name\":\"b\",\"\ufffd\":1,\"\ufffd\\\\ud800\":2,\"\U0001f600\":3}"},
		"a name of half a surrogate pair":       {`{"name":"a","\ud800x":1}`, rename, ""},
		"numbers of a slice":                    {`{"name":"a","sizes":[1.0,2.50,1e1]}`, func(p *parcel) { p.Sizes[1] = 3 }, `{"name":"a","sizes":[1,3,10]}`},
		"a number that is rounded":              {`{"name":"a","weight":0.10000000000000000001}`, rename, `{"name":"b","weight":0.10000000000000000001}`},
		"a number that is rounded, changed":     {`{"name":"a","weight":0.10000000000000000001}`, func(p *parcel) { p.Weight = 2 }, `{"name":"a","weight":2}`},
		"a time":                                {`{"name":"a","sent":"2026-01-02T03:04:05.000Z"}`, rename, `{"name":"b","sent":"2026-01-02T03:04:05.000Z"}`},
		"times of a slice":                      {`{"name":"a","periods":["2026-01-02T03:04:05.000Z","2027-01-02T03:04:05.000Z"]}`, func(p *parcel) { p.Periods = p.Periods[1:] }, `{"name":"a","periods":["2027-01-02T03:04:05.000Z"]}`},
		"raw":                                   {`{"name":"a","raw":{"x":[1.0]},"y":1}`, rename, `{"name":"b","raw":{"x":[1.0]},"y":1}`},
		"in an any":                             {`{"name":"a","any":{"big":9007199254740993,"x":[1.0]},"y":1}`, func(p *parcel) { p.Any.(map[string]any)["more"] = true }, `{"name":"a","any":{"big":9007199254740993,"x":[1.0],"more":true},"y":1}`},
		"a type of its own":                     {`{"name":"a","price":{"Amount":"1","Currency":"EUR","x":1}}`, rename, `{"name":"b","price":{"Amount":"1","Currency":"EUR","x":1}}`},
		"a type of its own, changed":            {`{"name":"a","price":{"Amount":"1","Currency":"EUR"}}`, func(p *parcel) { p.Price = "2 EUR" }, ""},
		"another case":                          {`{"NAME":"a","x":1}`, rename, `{"name":"b","x":1}`},
		"another case, twice":                   {`{"NAME":"c","Name":"a","x":1}`, rename, ""},
		"another case, and the right one":       {`{"NAME":"c","name":"a","x":1}`, rename, `{"NAME":"c","name":"b","x":1}`},
		"a string that is not UTF-8":            {"{\"name\":\"a\",\"city\":\"\xff\",\"inner\":{\"name\":\"\xff\"}}", rename, "{\"name\":\"b\",\"city\":\"\xff\",\"inner\":{\"name\":\"\xff\"}}"},
		"a name that is not UTF-8":              {"{\"name\":\"a\",\"\xff\":1}", rename, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := merged(t, row.old, row.fn)
			if row.want == "" {
				wantErr(t, err, guard.ErrLossy)
				t.Log(err)
				return
			}
			if err != nil || !reflect.DeepEqual(tree(t, []byte(got)), tree(t, []byte(row.want))) {
				t.Errorf("got %s, %v; want %s", got, err, row.want)
			}
			if name == "a string that is not UTF-8" && strings.Count(got, "\xff") != 2 {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Of the fields whose names differ in their case only, encoding/json reads the first.
func TestJSONMergeOfFieldsAlike(t *testing.T) {
	t.Parallel()
	type alike struct {
		Lower int `json:"id"`
		Upper int `json:"ID"`
	}
	for range 50 {
		got, err := merged(t, `{"Id":5,"u":1}`, func(v *alike) { v.Lower++ })
		wantValue(t, got, err, `{"ID":0,"id":6,"u":1}`)
	}
}

// A merge takes no more than some times what encoding/json takes for the document.
func TestJSONMergeCost(t *testing.T) {
	type doc struct {
		V []float64 `json:"v"`
	}
	const most = 100
	for name, row := range map[string]struct {
		old    string
		change int
	}{
		"many numbers":    {`{"v":[` + strings.Repeat("0,", 80000) + `0.12345678901234567890]}`, 1},
		"many changes":    {`{"v":[` + strings.Repeat("0,", 4000) + `0.12345678901234567890]}`, 4000},
		"a deep document": {`{"v":[0],"deep":` + strings.Repeat("[", 4000) + `"` + strings.Repeat("a", 50000) + `"` + strings.Repeat("]", 4000) + `}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			var v any
			if err := json.Unmarshal([]byte(row.old), &v); err != nil {
				t.Fatal(err)
			}
			if _, err := json.Marshal(v); err != nil {
				t.Fatal(err)
			}
			plain := time.Since(began)
			began = time.Now()
			_, err := merged(t, row.old, func(d *doc) {
				for i := range row.change {
					d.V[i] = float64(i + 1)
				}
			})
			wantErr(t, err, nil)
			if took := time.Since(began); took > most*plain && took > time.Second {
				t.Errorf("it took %v, and encoding/json %v", took, plain)
			}
		})
	}
}

func TestJSONRefuseUnknown(t *testing.T) {
	t.Parallel()
	for old, ok := range map[string]bool{
		`{"name":"a"}`:           true,
		`{"name":"a","count":0}`: true,
		`{"name":"a","sent":"2026-01-02T03:04:05.000Z","any":{"x":[1e400]}}`: true,
		`{"NAME":"a","parts":[{"name":"i","weight":1.0}]}`:                   true,
		`{"name":"a","color":"red"}`:                                         false,
		`{"name":"a","color":""}`:                                            false,
		`{"name":"a","inner":{"name":"i","x":null}}`:                         false,
		`{"name":"a","parts":[{"name":"i"},{"name":"i","x":1}]}`:             false,
		`{"name":"a","byName":{"k":{"name":"i","x":1}}}`:                     false,
		`{"name":"a","price":{"Amount":"1","Currency":"EUR"}}`:               false,
	} {
		got, err := merged(t, old, func(*parcel) {}, guard.RefuseUnknown())
		if !ok {
			wantErr(t, err, guard.ErrLossy)
			continue
		}
		if err != nil || got != old {
			t.Errorf("%s becomes %s, %v", old, got, err)
		}
	}
}

func TestJSONDropUnknown(t *testing.T) {
	t.Parallel()
	got, err := merged(t, `{"name":"a","x":1,"price":{"Amount":"1","Currency":"EUR"}}`, func(*parcel) {}, guard.DropUnknown())
	wantValue(t, got, err, `{"name":"a","price":"1 EUR"}`)
}

func TestJSONNumbersInAny(t *testing.T) {
	t.Parallel()
	const doc = `{"big":9007199254740993,"exact":1.0,"huge":1e400,"list":[18446744073709551616]}`
	v, err := guard.JSON[any]().Unmarshal([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := v.(map[string]any)["big"].(json.Number); !ok || n != "9007199254740993" {
		t.Errorf("got %v", n)
	}
	got, err := merged(t, doc, func(v *any) { (*v).(map[string]any)["more"] = 1 })
	if want := doc[:len(doc)-1] + `,"more":1}`; err != nil || !reflect.DeepEqual(tree(t, []byte(got)), tree(t, []byte(want))) {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// All ways to update keep what a new version of the program has stored.
func TestUpdateKeepsUnknown(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	const old = `{"name":"a","color":"red"}`
	plain := guard.New(l, key, guard.Stored(guard.JSON[parcel]()))
	for name, update := range map[string]func() error{
		"Update": func() error {
			_, err := plain.Update(t.Context(), func(_ context.Context, p parcel) (parcel, error) { p.Name = "b"; return p, nil })
			return err
		},
		"UpdateN": func() error {
			return guard.UpdateN(t.Context(), []*guard.Guard[parcel]{plain}, func(_ context.Context, all []parcel) ([]parcel, error) {
				all[0].Name = "b"
				return all, nil
			})
		},
		"Optional": func() error {
			_, err := guard.New(l, key, guard.Optional(guard.JSON[parcel]())).Update(t.Context(), func(_ context.Context, p *parcel) (*parcel, error) {
				p.Name = "b"
				return p, nil
			})
			return err
		},
	} {
		s.put(t, old)
		wantErr(t, update(), nil)
		v, err := guard.New(l, key, guard.Stored(guard.JSON[map[string]string]())).Get(t.Context())
		if want := (map[string]string{"name": "b", "color": "red"}); err != nil || !reflect.DeepEqual(v, want) {
			t.Errorf("%s: stored is %v, %v; want %v", name, v, err, want)
		}
	}
	rev := s.put(t, old)
	strict := guard.New(l, key, guard.Stored(guard.JSON[parcel](guard.RefuseUnknown())))
	_, err := strict.Update(t.Context(), func(_ context.Context, p parcel) (parcel, error) { return parcel{Name: "b"}, nil })
	wantErr(t, err, guard.ErrLossy)
	wantOp(t, err, "update")
	if errors.Is(err, guard.ErrEncode) {
		t.Errorf("got error %v, though it encodes", err)
	}
	v, err := strict.Get(t.Context())
	wantValue(t, v.Name, err, "a")
	at, err := strict.GetVersion(t.Context())
	wantValue(t, at.Revision, err, rev)
}

// An update of any document, that changes what its first bytes say, either is refused or loses nothing.
func FuzzJSONMerge(f *testing.F) {
	f.Add(`{"name":"a","color":"red","inner":{"name":"i","x":1},"byName":{"k":{"y":[1.0]}}}`, uint8(0))
	f.Add(`{"NAME":"a","parts":[{"name":"i","x":1},{"name":"j"}],"any":{"big":9007199254740993}}`, uint8(1))
	f.Add(`{"name":"\ud800","price":{"Amount":"1"},"weight":0.1000000000000000000001,"count":0}`, uint8(2))
	f.Add(`{"name":"a","name":"b","inner":{"name":"c"},"inner":{"count":1},"x":1e999999999999}`, uint8(3))
	f.Add(`{"parts":[{"x":1},{"x":2},{"x":1}],"sizes":[1.0,-0,2e1]}`, uint8(4))
	f.Add(` null `, uint8(5))
	f.Fuzz(func(t *testing.T, old string, how uint8) {
		codec := guard.JSON[parcel]().(guard.Merger[parcel])
		value, err := codec.Unmarshal([]byte(old))
		if err != nil {
			return
		}
		switch how % 7 {
		case 0:
			value.Name += "b"
		case 1:
			value.Count++
			value.Parts = append([]parcel{{Name: "new"}}, value.Parts...)
		case 2:
			if len(value.Parts) > 0 {
				value.Parts[0].Weight++
			}
		case 3:
			if value.Inner != nil {
				value.Inner.Name += "b"
			}
		case 4:
			if len(value.Parts) > 0 {
				value.Parts = value.Parts[1:]
			}
		case 5:
			value.ByName = map[string]parcel{"k": {Name: "k"}}
			value.Price = "3 EUR"
		}
		plain, err := codec.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.Merge([]byte(old), value)
		if err != nil {
			wantErr(t, err, guard.ErrLossy)
			return
		}
		// The type sees what the function has returned.
		var views [2][]byte
		for i, data := range [][]byte{plain, got} {
			v, err := codec.Unmarshal(data)
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			if views[i], err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(tree(t, views[0]), tree(t, views[1])) {
			t.Fatalf("%s reads as %s, want %s", got, views[1], views[0])
		}
		if how%7 == 6 && string(got) != old && string(got) != string(plain) {
			t.Errorf("%s becomes %s, though nothing has changed", old, got)
		}
		// What it does not know is there still, at the top.
		var before, after map[string]json.RawMessage
		if json.Unmarshal([]byte(old), &before) != nil || json.Unmarshal(got, &after) != nil {
			return
		}
		for name, was := range before {
			member, err := json.Marshal(map[string]any{name: nil})
			if err != nil {
				t.Fatal(err)
			}
			dec := json.NewDecoder(bytes.NewReader(member))
			dec.DisallowUnknownFields()
			known := dec.Decode(new(parcel)) == nil
			if now, ok := after[name]; !known && (!ok || !reflect.DeepEqual(tree(t, was), tree(t, now))) {
				t.Errorf("%s of %s becomes %s in %s", name, old, now, got)
			}
		}
	})
}
