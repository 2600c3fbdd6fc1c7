package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

const versionHelp = `
Prints one line: the version of castar, the version of Go, the platform, the newest format of packed stores that it
reads and writes, and the data model.

Examples:
  castar version
  castar version --json | jq -r .revision           # the commit`

// versionInfo is what castar version prints.
type versionInfo struct {
	Version  string `json:"version"` // of castar, as the go command derives it, or "(devel)"
	Revision string `json:"revision,omitempty" help:"the commit it was built from, if known"`
	Modified bool   `json:"modified,omitempty" help:"whether the sources differed from that commit"`
	Go       string `json:"go" help:"the version of Go"`
	Platform string `json:"platform" help:"system and processor"`
	Formats  struct {
		Packed int    `json:"packed"`
		Model  string `json:"model"`
	} `json:"formats" help:"packed: the newest format of packed stores; model: the data model that digests follow"`
}

func (versionInfo) lineType() string { return "version" }

func (e *env) versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "show the version of castar and of the formats it knows",
		UsageText:   "castar version [flags]",
		Description: withJSON(versionHelp, "there is one object", versionInfo{}),
		Action: func(c *cli.Context) error {
			v := readVersion()
			e.print(v, fmt.Sprintf("castar %s (%s, %s), packed format %d, %s", v.Version, v.Go, v.Platform, v.Formats.Packed, v.Formats.Model))
			return nil
		},
	}
}

// readVersion reads what the go command recorded in the program.
func readVersion() versionInfo {
	v := versionInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	v.Formats.Packed = packedFormat
	v.Formats.Model = "castore.v1"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
