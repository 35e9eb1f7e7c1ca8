package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const width, height = 7.5 * vg.Inch, 3.4 * vg.Inch

func init() { plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"} }

// families are for readers without the font that texts are measured with.
var families = []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif")

// draw returns the chart as SVG, or nil if there are no results for it. The same results give the same bytes.
func (c chart) draw(rs *results) ([]byte, error) {
	b := bars{font: font.From(plot.DefaultFont, 9), log: c.log}
	var labels []string
	var looks []look
	for _, g := range c.groups {
		var of []bar
		for _, impl := range g.impls {
			f, ok := rs.of(point{g.name + "/impl=" + impl, c.unit})
			if !ok || f.median <= 0 {
				continue
			}
			l := lookOf(impl)
			of = append(of, bar{f.median, l.color})
			if !slices.Contains(looks, l) {
				looks = append(looks, l)
			}
		}
		if len(of) > 0 {
			b.groups, labels = append(b.groups, of), append(labels, g.label)
		}
	}
	if len(b.groups) == 0 {
		return nil, nil
	}

	p := plot.New()
	p.NominalX(labels...)
	p.X.LineStyle.Width = 0
	c.set(p, c.log)
	p.Add(b)
	p.X.Min, p.X.Max = -0.5, float64(len(b.groups))-0.5
	return paint(p, b.font, looks)
}

// set has the title and the upright axis.
func (n naming) set(p *plot.Plot, log bool) {
	p.Title.Text, p.Title.Padding = n.title, vg.Points(26) // room for the legend
	p.Y.Label.Text = n.axis
	p.Y.Tick.Marker = numbers{plot.DefaultTicks{}}
	if log {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, numbers{plot.LogTicks{}}
	}
}

// paint returns a plot as SVG, with a legend.
func paint(p *plot.Plot, f font.Font, looks []look) ([]byte, error) {
	svg := vgsvg.New(width, height)
	canvas := draw.New(svg)
	p.Draw(canvas)
	legend(canvas, f, looks)
	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans"), families), nil
}

// legend tells the colors in one line below the title.
func legend(canvas draw.Canvas, f font.Font, looks []look) {
	style := text.Style{Color: color.Black, Font: f, Handler: plot.DefaultTextHandler, YAlign: draw.YCenter}
	const box, gap = vg.Length(8), vg.Length(22) // other fonts may be wider
	x, y := canvas.Min.X+40, canvas.Max.Y-28
	for _, l := range looks {
		fill(canvas, x, y-box/2, x+box, y+box/2, l.color)
		canvas.FillText(style, vg.Point{X: x + box + 3, Y: y}, l.name)
		x += box + 3 + style.Width(l.name) + gap
	}
}

type bar struct {
	value float64
	color color.Color
}

// bars draws groups of bars around 0, 1, 2, …, with their values above them.
type bars struct {
	groups [][]bar
	font   font.Font
	log    bool
}

// DataRange makes the axes long enough.
func (b bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	ymin = math.Inf(1)
	for _, g := range b.groups {
		for _, bar := range g {
			ymin, ymax = min(ymin, bar.value), max(ymax, bar.value)
		}
	}
	if b.log {
		return 0, 1, math.Pow(10, math.Floor(math.Log10(ymin))), math.Pow(10, math.Ceil(math.Log10(ymax)+0.1))
	}
	return 0, 1, 0, ymax * 1.08
}

func (b bars) Plot(canvas draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&canvas)
	style := text.Style{Color: color.Black, Font: b.font, Handler: p.TextHandler, XAlign: draw.XCenter, YAlign: draw.YBottom}
	most := 0
	for _, g := range b.groups {
		most = max(most, len(g))
	}
	wide := 0.84 / float64(most)
	for i, g := range b.groups {
		left := float64(i) - wide*float64(len(g))/2
		for j, bar := range g {
			x0, x1 := x(left+wide*float64(j)), x(left+wide*float64(j+1))
			fill(canvas, x0+1, canvas.Min.Y, x1-1, y(bar.value), bar.color)
			canvas.FillText(style, vg.Point{X: (x0 + x1) / 2, Y: y(bar.value) + 2}, short(bar.value))
		}
	}
}

func fill(canvas draw.Canvas, x0, y0, x1, y1 vg.Length, c color.Color) {
	canvas.FillPolygon(c, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// numbers writes the values at an axis short.
type numbers struct{ plot.Ticker }

func (n numbers) Ticks(min, max float64) []plot.Tick {
	ticks := n.Ticker.Ticks(min, max)
	for i, t := range ticks {
		if t.Label != "" {
			ticks[i].Label = short(t.Value)
		}
	}
	return ticks
}

// short writes v with two or three digits that count, and k or M.
func short(v float64) string {
	switch {
	case v >= 999_500:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 999.5:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}
