package status

import (
	"fmt"
	"strings"
)

// Plot is the last 15 minutes of one figure as paths of an SVG of PlotWidth by
// PlotHeight. Says tells the same to who cannot see it.
type Plot struct {
	Areas []Area
	Says  string
}

// Area is one line, or one layer of a stack. Class names its look.
type Area struct{ Class, Path string }

// The size of a plot in its own units; a page scales it.
const (
	PlotWidth  = 250
	PlotHeight = 44
)

// lineOf draws values between 0 and top. A negative value is a gap.
func lineOf(values []float64, top float64) string {
	if top <= 0 {
		top = 1
	}
	var b strings.Builder
	pen := "M"
	for i, v := range values {
		if v < 0 {
			pen = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, x(i, len(values)), y(v/top))
		if pen == "M" {
			b.WriteString("h.1") // a point without neighbours is a dot
		}
		pen = "L"
	}
	return b.String()
}

func x(i, n int) float64 { return float64(i) * PlotWidth / float64(max(1, n-1)) }

// y keeps a line's own width inside.
func y(share float64) float64 { return 1 + (PlotHeight-2)*(1-share) }

func values(points []Point, of func(Point) float64) (v []float64, top float64) {
	v = make([]float64, len(points))
	for i, p := range points {
		v[i] = of(p)
		top = max(top, v[i])
	}
	return v, top
}

func activePlot(points []Point) Plot {
	v, top := values(points, func(p Point) float64 { return float64(p.Active) })
	return Plot{Areas: []Area{{"line", lineOf(v, top)}}, Says: fmt.Sprintf("Requests in flight over 15 minutes, at most %.0f.", top)}
}

func ratePlot(points []Point) Plot {
	v, top := values(points, func(p Point) float64 { return float64(p.Endings.Total) / Step.Seconds() })
	// The last step is still being filled: it would look like a fall.
	v = v[:max(0, len(v)-1)]
	return Plot{Areas: []Area{{"line", lineOf(v, top)}}, Says: fmt.Sprintf("Requests a second over 15 minutes, at most %.1f.", top)}
}

func firstBytePlot(points []Point) Plot {
	gap := func(v float64) float64 {
		if v == 0 {
			return -1
		}
		return v
	}
	p99, top := values(points, func(p Point) float64 { return gap(p.P99) })
	p50, _ := values(points, func(p Point) float64 { return gap(p.P50) })
	return Plot{Areas: []Area{{"line slow", lineOf(p99, top)}, {"line", lineOf(p50, top)}},
		Says: fmt.Sprintf("Time to the first byte over 15 minutes, p50 and p99; the slowest p99 was %s.", span(seconds(top)))}
}

// endingsPlot stacks the shares of the endings. A step without any leaves a gap.
func endingsPlot(points []Point) Plot {
	layers := []struct {
		class string
		of    func(Endings) uint64
	}{
		{"whole", func(e Endings) uint64 { return e.Whole }},
		{"client", func(e Endings) uint64 { return e.Client }},
		{"tailnet", func(e Endings) uint64 { return e.Tailnet }},
		{"us", func(e Endings) uint64 { return e.Us }},
		{"api", func(e Endings) uint64 { return e.API }},
	}
	paths := make([]strings.Builder, len(layers))
	width := float64(PlotWidth) / float64(max(1, len(points)))
	for i, p := range points {
		if p.Endings.Total == 0 {
			continue
		}
		base := 0.0
		for l, layer := range layers {
			part := float64(layer.of(p.Endings)) / float64(p.Endings.Total)
			if part == 0 {
				continue
			}
			top := base + part
			fmt.Fprintf(&paths[l], "M%.1f %.1fH%.1fV%.1fH%.1fZ", float64(i)*width, PlotHeight*(1-base), float64(i+1)*width, PlotHeight*(1-top), float64(i)*width)
			base = top
		}
	}
	plot := Plot{Says: "Endings over 15 minutes, by whom, stacked."}
	for l, layer := range layers {
		plot.Areas = append(plot.Areas, Area{"area " + layer.class, paths[l].String()})
	}
	return plot
}
