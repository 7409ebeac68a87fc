// Package chart draws how policies did: quality against balance, and the load of each auth
// over time. An auth is what the gateway chooses among. Each plot is written as an SVG and as
// a PNG.
package chart

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/play"
)

const (
	width  = 20 * vg.Centimeter
	height = 13 * vg.Centimeter
)

// Balance draws quality against balance, with a small point for each history of a policy and a
// large one for the median. It returns the files that it has written.
func Balance(dir, name, title string, policies []play.Policy, results [][]play.Result) ([]string, error) {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "load of the most loaded auth / mean (1 is even)"
	p.Y.Label.Text = "quality (1 is all that can be cached)"
	p.Add(plotter.NewGrid())
	p.Legend.ThumbnailWidth = vg.Centimeter / 2
	for i, policy := range policies {
		all := make(plotter.XYs, len(results[i]))
		var xs, ys []float64
		for j, r := range results[i] {
			all[j] = plotter.XY{X: r.Imbalance, Y: r.Quality}
			xs, ys = append(xs, r.Imbalance), append(ys, r.Quality)
		}
		small, err := plotter.NewScatter(all)
		if err != nil {
			return nil, err
		}
		small.GlyphStyle = glyph(i, 1.5, 130)
		large, err := plotter.NewScatter(plotter.XYs{{X: play.Median(xs), Y: play.Median(ys)}})
		if err != nil {
			return nil, err
		}
		large.GlyphStyle = glyph(i, 5, 255)
		p.Add(small, large)
		p.Legend.Add(policy.Name, large)
	}
	p.X.Min, p.Y.Max = min(p.X.Min, 1), max(p.Y.Max, 1)
	// Room for the points at the edge, and for the legend.
	p.X.Max += (p.X.Max - p.X.Min) * 0.05
	p.Y.Min -= (p.Y.Max - p.Y.Min) * 0.05
	p.Y.Max += (p.Y.Max - p.Y.Min) * 0.02
	return save(p, dir, name+"-balance")
}

// mostPoints is how many points a line has at most. With more, lines cannot be told apart.
const mostPoints = 40

// bins replaces a load by minute by means over several minutes, so that there are no more than
// mostPoints values. It returns how many minutes each mean covers.
func bins(minutes [][]float64) (out [][]float64, each int) {
	each = max(1, (len(minutes)+mostPoints-1)/mostPoints)
	for part := range slices.Chunk(minutes, each) {
		mean := make([]float64, len(part[0]))
		for _, m := range part {
			for auth, load := range m {
				mean[auth] += load / float64(len(part))
			}
		}
		out = append(out, mean)
	}
	return out, each
}

// Load draws how many prompt tokens each auth was sent over the time of one history.
func Load(dir, name, title string, minutes [][]float64) ([]string, error) {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "minutes"
	p.Y.Label.Text = "thousand prompt tokens a minute"
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	p.Legend.ThumbnailWidth = vg.Centimeter
	minutes, each := bins(minutes)
	if len(minutes) > 0 {
		for auth := range minutes[0] {
			line := make(plotter.XYs, len(minutes))
			for i, m := range minutes {
				line[i] = plotter.XY{X: (float64(i) + 0.5) * float64(each), Y: m[auth] / 1000}
			}
			l, err := plotter.NewLine(line)
			if err != nil {
				return nil, err
			}
			l.Color = plotutil.Color(auth)
			l.Width = vg.Points(1.5)
			l.Dashes = plotutil.Dashes(auth / len(plotutil.DefaultColors))
			p.Add(l)
			if len(minutes[0]) <= 16 {
				p.Legend.Add(play.AuthName(auth), l)
			}
		}
	}
	p.X.Min, p.Y.Min = 0, 0
	p.X.Max += (p.X.Max - p.X.Min) * 0.2 // room for the legend
	return save(p, dir, name)
}

func glyph(i int, radius float64, alpha uint8) draw.GlyphStyle {
	r, g, b, _ := plotutil.Color(i).RGBA()
	return draw.GlyphStyle{
		Color:  color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), alpha},
		Radius: vg.Points(radius),
		Shape:  plotutil.Shape(i),
	}
}

func save(p *plot.Plot, dir, name string) (files []string, err error) {
	for _, kind := range []string{"svg", "png"} {
		file := filepath.Join(dir, fileName(name)+"."+kind)
		if err := p.Save(width, height, file); err != nil {
			return nil, fmt.Errorf("plot %s: %w", file, err)
		}
		files = append(files, file)
	}
	return files, nil
}

// fileName returns a name that every file system accepts.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, name)
}
