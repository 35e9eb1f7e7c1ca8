package main

import (
	"cmp"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A sweep has a line for each implementation: what is measured against a size. Where a line is flat, the size costs nothing.
type sweep struct {
	naming
	along string  // what the sizes are of
	of    string  // the benchmark, up to the size
	times float64 // from the unit to that of the axis
	log   bool    // the upright axis; the other one always is
	lines []line
}

// A line is one unit of one implementation. What it adds to the implementation's name is empty for the only unit.
type line struct{ impl, unit, adds string }

var sweeps = []sweep{
	{
		naming: naming{"clients.svg", "Hand-overs per second, one key, by the number of processes", "hand-overs/s (log)"},
		along:  "processes", of: "Hot/clients=", times: 1, log: true,
		lines: []line{{"elock", "handovers/s", ""}, {"mutex", "handovers/s", ""}, {"session-per-lock", "handovers/s", ""}, {"write+notice", "handovers/s", ""}},
	},
	{
		naming: naming{"queue.svg", "Processes that wait for one key: the cost of each", "µs"},
		along:  "processes that wait", of: "Queue/waiters=", times: 1e6,
		lines: []line{{"elock", "enter-sec", "to enter"}, {"mutex", "enter-sec", "to enter"}, {"elock", "leave-sec", "to get the lock"}, {"mutex", "leave-sec", "to get the lock"}},
	},
	{
		naming: naming{"keys.svg", "Keys that are used once: the last locks and unlocks", "ms, median of the last"},
		along:  "keys", of: "Keys/keys=", times: 1e3,
		lines: []line{{"elock", "last-p50-sec", ""}, {"mutex", "last-p50-sec", ""}, {"put+delete", "last-p50-sec", ""}},
	},
	{
		naming: naming{"waiters.svg", "Goroutines that wait for a key each: the cost of each", "µs"},
		along:  "goroutines that wait", of: "Waiters/waiters=", times: 1e6,
		lines: []line{{"elock", "enter-sec", "to enter"}, {"mutex", "enter-sec", "to enter"}, {"elock", "leave-sec", "to get the lock"}, {"mutex", "leave-sec", "to get the lock"}},
	},
	{
		naming: naming{"idle.svg", "Processes that hold a lock and do nothing: messages to etcd", "messages/s of each"},
		along:  "processes", of: "Idle/lockers=", times: 1,
		lines: []line{{"elock", "idle-sent/s/locker", ""}, {"mutex", "idle-sent/s/locker", ""}},
	},
}

// draw returns the chart as SVG, or nil if no line has two points. The same results give the same bytes.
func (s sweep) draw(rs *results) ([]byte, error) {
	all := curves{font: font.From(plot.DefaultFont, 9), log: s.log}
	var looks []look
	for _, l := range s.lines {
		c := curve{points: s.points(rs, l)}
		if len(c.points) < 2 {
			continue
		}
		look := lookOf(l.impl)
		if l.adds != "" {
			look.name += ": " + l.adds
			if l.unit != s.lines[0].unit { // the second of one color
				look.color = lighter(look.color)
			}
		}
		c.color = look.color
		all.of, looks = append(all.of, c), append(looks, look)
	}
	if len(all.of) == 0 {
		return nil, nil
	}
	p := plot.New()
	s.set(p, s.log)
	p.X.Label.Text = s.along
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, all
	p.Add(all)
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.3
	return paint(p, all.font, looks)
}

// points are the medians of a line, from the least size to the greatest.
func (s sweep) points(rs *results, l line) (points []xy) {
	for _, name := range rs.names {
		rest, ok := strings.CutPrefix(name, s.of)
		if !ok {
			continue
		}
		at, impl := split(rest)
		size, err := strconv.ParseFloat(at, 64)
		if f, ok := rs.of(point{name, l.unit}); ok && err == nil && impl == l.impl && (f.median > 0 || !s.log) {
			points = append(points, xy{size, f.median * s.times})
		}
	}
	slices.SortFunc(points, func(a, b xy) int { return cmp.Compare(a.x, b.x) })
	return points
}

func lighter(c color.RGBA) color.RGBA {
	half := func(v uint8) uint8 { return v + (255-v)/2 }
	return color.RGBA{half(c.R), half(c.G), half(c.B), c.A}
}

type xy struct{ x, y float64 }

type curve struct {
	points []xy
	color  color.Color
}

// curves draws lines, with their values at the points. The ticks of the axis below are at the sizes.
type curves struct {
	of   []curve
	font font.Font
	log  bool
}

func (cs curves) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, ymin = math.Inf(1), math.Inf(1)
	for _, c := range cs.of {
		for _, p := range c.points {
			xmin, xmax = min(xmin, p.x), max(xmax, p.x)
			ymin, ymax = min(ymin, p.y), max(ymax, p.y)
		}
	}
	if cs.log {
		return xmin, xmax, math.Pow(10, math.Floor(math.Log10(ymin))), math.Pow(10, math.Ceil(math.Log10(ymax)+0.1))
	}
	return xmin, xmax, 0, ymax*1.12 + 1e-9
}

func (cs curves) Ticks(float64, float64) (ticks []plot.Tick) {
	for _, c := range cs.of {
		for _, p := range c.points {
			if !slices.ContainsFunc(ticks, func(t plot.Tick) bool { return t.Value == p.x }) {
				ticks = append(ticks, plot.Tick{Value: p.x, Label: short(p.x)})
			}
		}
	}
	return ticks
}

func (cs curves) Plot(canvas draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&canvas)
	style := text.Style{Color: color.Black, Font: cs.font, Handler: p.TextHandler, XAlign: draw.XCenter, YAlign: draw.YBottom}
	under := style
	under.YAlign = draw.YTop
	const dot = vg.Length(2.5)
	for _, c := range cs.of {
		at := make([]vg.Point, len(c.points))
		for i, p := range c.points {
			at[i] = vg.Point{X: x(p.x), Y: y(p.y)}
			fill(canvas, at[i].X-dot, at[i].Y-dot, at[i].X+dot, at[i].Y+dot, c.color)
			if cs.top(p) {
				canvas.FillText(style, vg.Point{X: at[i].X, Y: at[i].Y + 4}, short(p.y))
			} else {
				canvas.FillText(under, vg.Point{X: at[i].X, Y: at[i].Y - 4}, short(p.y))
			}
		}
		canvas.StrokeLines(draw.LineStyle{Color: c.color, Width: vg.Points(1.5)}, at)
	}
}

// top reports whether no line is above a point.
func (cs curves) top(p xy) bool {
	return !slices.ContainsFunc(cs.of, func(c curve) bool {
		return slices.ContainsFunc(c.points, func(o xy) bool { return o.x == p.x && o.y > p.y })
	})
}
