package status

import "time"

// Traffic is what came and went in the last 15 minutes. The points are oldest
// first, the last of them is still being filled.
type Traffic struct {
	StepSeconds int     `json:"step_seconds"`
	Points      []Point `json:"points"`
	// PerSecond is the rate of endings over the last minute.
	PerSecond float64 `json:"requests_per_second"`
	// The times to the first byte over the window, in seconds; 0 without one.
	FirstByteP50 float64 `json:"first_byte_p50_seconds"`
	FirstByteP99 float64 `json:"first_byte_p99_seconds"`
	// OverheadP50 and OverheadP99 are our share of them; nil when no request
	// told it.
	OverheadP50 *float64 `json:"overhead_p50_seconds,omitempty"`
	OverheadP99 *float64 `json:"overhead_p99_seconds,omitempty"`
	// Endings are the sums of the points.
	Endings Endings `json:"endings"`
	// Recent are the newest endings, enough of them to judge by.
	Recent Recent `json:"recent"`
}

// Endings are numbers of requests by whom their end speaks of.
type Endings struct {
	Total   uint64 `json:"total"`
	Whole   uint64 `json:"whole"`
	API     uint64 `json:"api"`
	Client  uint64 `json:"client"`
	Us      uint64 `json:"us"`
	Tailnet uint64 `json:"tailnet"`
}

// WholePercent is the share of whole answers; 100 when there was no request.
func (e Endings) WholePercent() float64 {
	if e.Total == 0 {
		return 100
	}
	return 100 * float64(e.Whole) / float64(e.Total)
}

func (e *Endings) add(o Endings) {
	e.Total += o.Total
	e.Whole += o.Whole
	e.API += o.API
	e.Client += o.Client
	e.Us += o.Us
	e.Tailnet += o.Tailnet
}

// Point is one step of the window.
type Point struct {
	At      time.Time `json:"at"`
	Active  int64     `json:"active"` // the most at once
	Began   uint32    `json:"began"`
	P50     float64   `json:"first_byte_p50_seconds"` // 0 without one
	P99     float64   `json:"first_byte_p99_seconds"`
	Endings Endings   `json:"endings"`

	answers     [7]uint32
	broken      uint32
	silent      uint32
	placeholder uint32
	streams     [8]uint32
}

// Recent are the newest endings: those of the last ten to twenty seconds, or of
// as many steps more as it takes to have enough.
type Recent struct {
	Seconds     int              `json:"seconds"`
	Endings     Endings          `json:"endings"`
	Answers     map[Class]uint64 `json:"answers"`
	Broken      uint64           `json:"broken"` // answers
	Silent      uint64           `json:"silent"` // of them, by our clock
	Placeholder uint64           `json:"placeholder"`
}

// enough is how many endings make a judgement.
const enough = 20

// read takes the window as it is now. It stops no writer.
func (w *window) read(now time.Time) (Traffic, API) {
	t := Traffic{StepSeconds: int(Step / time.Second), Points: make([]Point, Steps)}
	var firsts, ours times
	first := stepOf(now) - Steps + 1
	active := int64(0)
	for i := range t.Points {
		step := first + int64(i)
		p := &t.Points[i]
		p.At = time.Unix(step*int64(Step/time.Second), 0).UTC()
		c := &w.ring[step%slots]
		if c.step.Load() != step {
			p.Active = active // nobody came or went
			continue
		}
		p.take(c)
		active = c.last.Load()
		firsts.add(&c.firstByte)
		ours.add(&c.overhead)
		t.Endings.add(p.Endings)
	}
	t.PerSecond = perSecond(t.Points, now)
	t.FirstByteP50, t.FirstByteP99 = firsts.quantile(.5).Seconds(), firsts.quantile(.99).Seconds()
	if half, most := ours.quantile(.5).Seconds(), ours.quantile(.99).Seconds(); half > 0 {
		t.OverheadP50, t.OverheadP99 = &half, &most
	}
	t.Recent = recent(t.Points)
	return t, w.api(t.Points)
}

func (p *Point) take(c *cell) {
	p.Active, p.Began = c.peak.Load(), c.began.Load()
	var one times
	one.add(&c.firstByte)
	p.P50, p.P99 = one.quantile(.5).Seconds(), one.quantile(.99).Seconds()
	p.Endings = Endings{
		Whole: uint64(c.blame[nobody].Load()), API: uint64(c.blame[onAPI].Load()), Client: uint64(c.blame[onClient].Load()),
		Us: uint64(c.blame[onUs].Load()), Tailnet: uint64(c.blame[onTailnet].Load()),
	}
	// Not c.ended: the parts must sum up to the whole while writers go on.
	p.Endings.Total = p.Endings.Whole + p.Endings.API + p.Endings.Client + p.Endings.Us + p.Endings.Tailnet
	for i := range c.answers {
		p.answers[i] = c.answers[i].Load()
	}
	for i := range c.streams {
		p.streams[i] = c.streams[i].Load()
	}
	p.broken, p.silent, p.placeholder = c.broken.Load(), c.silent.Load(), c.placeholder.Load()
}

// perSecond is the rate over the newest steps, a minute of them at most.
func perSecond(points []Point, now time.Time) float64 {
	const steps = int(time.Minute / Step)
	newest := points[len(points)-steps:]
	n := uint64(0)
	for _, p := range newest {
		n += p.Endings.Total
	}
	return float64(n) / max(1, now.Sub(newest[0].At).Seconds())
}

// recent sums up the newest steps until they are enough, two at least and two
// minutes at most.
func recent(points []Point) Recent {
	const most = int(2 * time.Minute / Step)
	r := Recent{Answers: make(map[Class]uint64, len(Classes))}
	for n := 1; n <= most; n++ {
		p := points[len(points)-n]
		r.Seconds += int(Step / time.Second)
		r.Endings.add(p.Endings)
		for i, class := range Classes {
			r.Answers[class] += uint64(p.answers[i])
		}
		r.Broken += uint64(p.broken)
		r.Silent += uint64(p.silent)
		r.Placeholder += uint64(p.placeholder)
		if n >= 2 && r.Endings.Total >= enough {
			break
		}
	}
	return r
}

func (w *window) api(points []Point) API {
	a := API{Answers: make(map[Class]uint64, len(Classes)), Streams: make(map[StreamEnd]uint64, len(StreamEnds)), LastTrouble: w.trouble.Load()}
	for _, p := range points {
		for i, class := range Classes {
			a.Answers[class] += uint64(p.answers[i])
		}
		for i, end := range StreamEnds {
			a.Streams[end] += uint64(p.streams[i])
		}
		a.Broken += uint64(p.broken)
	}
	a.Unanswered = a.Answers[ClassNone]
	return a
}
