package cmd

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// printMan writes a man page, in the language of man(7): of the whole program, or of one command. It has the words of the
// help.
func printMan(w io.Writer, app *cli.App, c *cli.Command) {
	var b strings.Builder
	name, usage, synopsis, text, categories := "castar", app.Usage, "castar COMMAND [flags] [arguments]", generalHelp,
		app.VisibleFlagCategories()
	if c != nil {
		name, usage, synopsis, text, categories = "castar-"+c.Name, c.Usage, c.UsageText, c.Description, c.VisibleFlagCategories()
	}
	fmt.Fprintf(&b, ".TH %s 1 \"\" castar \"User Commands\"\n.nh\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n",
		manText(strings.ToUpper(name)), manText(name), manText(usage), manText(synopsis))
	manParagraphs(&b, text)
	if c == nil {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range app.VisibleCommands() {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", manText(strings.Join(c.Names(), ", ")), manText(c.Usage))
		}
	}
	for _, category := range categories {
		fmt.Fprintf(&b, ".SH %s\n", manText(strings.ToUpper(cmp.Or(category.Name(), "Flags"))))
		for spelled, text := range describeFlags(category) {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", manText(strings.TrimSpace(spelled)), manText(text))
		}
	}
	if c == nil {
		b.WriteString(".SH NOTES\n")
		manParagraphs(&b, generalEnd)
	}
	io.WriteString(w, b.String())
}

// manParagraphs writes a help text: paragraphs are filled, and indented lines stay as they are.
func manParagraphs(b *strings.Builder, text string) {
	asIs := false
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		indented := strings.HasPrefix(line, " ")
		if indented != asIs && line != "" {
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[indented])
			asIs = indented
		}
		if line == "" {
			line = ".PP"
		} else {
			line = manText(line)
		}
		b.WriteString(line + "\n")
	}
	if asIs {
		b.WriteString(".fi\n")
	}
}

// manText escapes what has a meaning in man pages.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
