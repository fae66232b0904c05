// Package proxy is the data plane's policy: it takes a client's request to the
// Claude API and streams the answer back, so that neither side can tell.
//
// It decides what is added and stripped, how long each phase may take, what may
// be sent twice and what a client is told. How bytes move is the business of
// package upstream, how clients arrive that of package edge, who may enter that
// of package admission. It never stores, logs or invents a credential, never
// changes a body, never follows a redirect, and never sends a request twice that
// may have been processed.
//
// # The way of a request
//
// Each file knows those below it and none above; a test holds this list.
//
//	exchange.go    the page: admit, take in, ask, answer, end
//	answer.go      the API's answer on its way to the client
//	attempts.go    asking the API, again where that is safe
//	upload.go      the body as one attempt sends it
//	intake.go      the body as it comes from the client, and what is kept of it
//	handler.go     what is made once: Options, Handler
//	linekeys.go    who is who in the line
//	budget.go      the memory of read-ahead bodies
//	metrics.go     a sink: counters and histograms
//	accesslog.go   a sink: one line an exchange
//	sink.go        who is told: Sink, Follower, Tap
//	record.go      what is kept of an exchange: Live in flight, Record at its end
//	causes.go      errors become causes, where they enter
//	ending.go      the table of causes, and all that follows from each
//	agent.go       the client's release
//	credential.go  the class of a credential
//	hops.go        the recipients that a TRACE or OPTIONS may still have
//	target.go      the request target
//	watchdog.go    a clock over a phase, and the one timer behind all
//	vocabulary.go  closed sets of words: outcomes, error types, parties, phases
//
// From the head of a request to the API and back, a small POST that all goes
// well for passes through these, in order:
//
//	ServeExchange, targetOf, page, newExchange, newLive, newRequestID, clientOf, credentialOf, follow
//	run, serve: admit, Gate.Arrive
//	  newIntake, takeIn, readShort, read, hasCome, room, newPage, pull
//	  identify, Ticket.Enter
//	  headers.Request, ask, once, newUpload, headTimeout, headClock.start, Upstream.RoundTrip
//	    upload.Read, take
//	  upload.answered, free, Live.answers
//	  slim, relay, taps.answered, headers.Response, head, goOn, move, pieces, write, comes, piece, trailer
//	close: let, finish, part, Ticket.Leave, Live.Record
//	  taps.ended, Metrics.Ended, accessLog.Ended
package proxy
