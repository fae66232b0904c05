package status

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

// Level says how bad it is. The set is closed.
type Level string

// The levels.
const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning" // traffic flows; somebody should look
	LevelFault   Level = "fault"   // requests fail, or cannot come
	LevelEnding  Level = "ending"  // wanted: it starts or shuts down
)

// Fault says whose it is. The set is closed.
type Fault string

// The faulty.
const (
	FaultNone    Fault = "none"
	FaultUs      Fault = "us"
	FaultTailnet Fault = "tailnet"
	FaultAPI     Fault = "api" // or the way to it
	FaultClient  Fault = "client"
)

// Finding is one thing to say of a Snapshot.
type Finding struct {
	Level Level `json:"level"`
	Fault Fault `json:"fault"`
	// Headline is one sentence: whose fault, since when, how much.
	Headline string `json:"headline"`
	// Detail says what else is known; Next is what to do now, Runbook the
	// RUNBOOK's section about it.
	Detail  string     `json:"detail,omitempty"`
	Next    string     `json:"next,omitempty"`
	Runbook string     `json:"runbook,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	// Share is how many of the recent requests it concerns, 0 to 1.
	Share float64 `json:"share,omitempty"`
}

// Verdict is the worst finding, and the headlines of the others.
type Verdict struct {
	// Healthy is what the exit code of `status` says: no fault, and running.
	Healthy bool `json:"healthy"`
	Finding
	Also []string `json:"also,omitempty"`
}

// Judge says in one sentence how the service is. It looks at nothing but the
// Snapshot; the Snapshot's own Verdict is ignored.
func Judge(s Snapshot) Verdict {
	var found []Finding
	for _, look := range looks {
		if f := look(s); f != nil {
			found = append(found, *f)
		}
	}
	worst := -1
	for i, f := range found {
		if worst < 0 || f.Level != LevelWarning && found[worst].Level == LevelWarning {
			worst = i
		}
	}
	if worst < 0 {
		return Verdict{Healthy: true, Finding: healthy(s)}
	}
	v := Verdict{Healthy: found[worst].Level == LevelWarning, Finding: found[worst]}
	if v.Healthy {
		v.Headline = "Healthy, but " + v.Headline
	} else {
		v.Headline = capital(v.Headline)
	}
	for i, f := range found {
		if i != worst {
			v.Also = append(v.Also, capital(f.Headline))
		}
	}
	return v
}

// looks are what is looked for, causes before what follows from them: the
// first fault is the verdict.
var looks = []func(Snapshot) *Finding{
	lookStuck, lookEnd, lookTailnetLost, lookTrouble, lookPort, lookServices, lookStart, lookAPI, lookSilence, lookOurs, lookFull,
	lookPlaceholders, lookClients, lookStall, lookLog, lookImpaired, lookName,
}

func healthy(s Snapshot) Finding {
	f := Finding{Level: LevelOK, Fault: FaultNone}
	e := s.Traffic.Endings
	switch {
	case e.Total == 0 && s.Load.Active == 0:
		f.Headline = "Healthy: nothing is wrong, and nobody has asked for anything in the last 15 minutes."
	case e.Total == 0:
		f.Headline = fmt.Sprintf("Healthy: %s in flight, none has ended in the last 15 minutes.", count(s.Load.Active, "request"))
	default:
		f.Headline = fmt.Sprintf("Healthy: %s in the last 15 minutes, %s of them answered whole.", count(int(e.Total), "request"), percent(e.Whole, e.Total))
	}
	switch s.Tailnet.Link {
	case messages.LinkDisabled:
		f.Detail = "The tailnet is not watched (mode = \"off\"); every service runs."
	case messages.LinkConnected:
		f.Detail = "The tailnet is connected and every service runs."
	}
	return f
}
