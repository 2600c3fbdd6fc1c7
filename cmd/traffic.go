package cmd

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/traffic"
)

// transfer is the traffic with remote stores.
type transfer struct {
	upload, download int64          // bounds in bytes a second; 0: none
	meter            *traffic.Meter // of all stores; nil until one is opened
}

func (t *transfer) flags(category string) []cli.Flag {
	const rate, stores = " at most `BYTES` a second, such as 500K or 2M, ", " remote stores in total"
	return []cli.Flag{
		bytesFlag("limit-upload", &t.upload, "no limit", "send"+rate+"to"+stores).in(category),
		bytesFlag("limit-download", &t.download, "no limit", "receive"+rate+"from"+stores).in(category),
	}
}

// metered returns o for a store whose traffic is counted and limited.
func (t *transfer) metered(o config.Options) config.Options {
	if t.meter == nil {
		t.meter = traffic.New(t.upload, t.download)
	}
	o.Meter = t.meter
	return o
}

// jsonTraffic is the line on stderr that says how much traffic a command had with remote stores.
type jsonTraffic struct {
	Command       string `json:"command"`
	Requests      int64  `json:"requests"`
	BytesSent     int64  `json:"bytes_sent"`
	BytesReceived int64  `json:"bytes_received"`
}

func (jsonTraffic) lineType() string { return "traffic" }

// tellTraffic says with --verbose or --json what the command sent and received.
func (e *env) tellTraffic() {
	switch t := e.traffic.meter.Totals(); {
	case t.Requests == 0 || e.quiet:
	case e.json:
		_ = writeJSON(e.stderr, jsonTraffic{e.command, t.Requests, t.Sent, t.Received})
	case e.verbose:
		e.note(fmt.Sprintf("%s, %s sent, %s received", plural(uint64(t.Requests), "request"),
			store.HumanBytes(uint64(t.Sent)), store.HumanBytes(uint64(t.Received))))
	}
}
