// Package cmd is castar's command line. Each command has a file of its name, with its flags, its help and its output, and
// perhaps more files whose names begin with the same word. Files with the name of no command are shared by several.
// The work is done in packages ingest, export and store.
package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"castar/store"
)

// env is what all commands share: the streams, and the flags of every command.
type env struct {
	stdin  io.Reader
	stdout *output
	stderr *console
	args   []string // the command line, without the program's name

	command  string // that runs, or "" if the command line names none
	store    string // -s or CASTAR_STORE; "" is the default
	json     bool
	quiet    bool
	verbose  bool
	dash     int    // how many arguments stood before a "--", or -1 if there was none
	progress string // auto, always, never or json
	traffic  transfer
}

// Main runs castar with the command line args, whose first is the program's name, and returns its exit status.
// The first SIGINT, SIGTERM or SIGHUP makes it clean up and return; a second one kills the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	context.AfterFunc(ctx, stop)
	idle := make(chan os.Signal, 1)
	signal.Notify(idle, syscall.SIGUSR1) // it must not kill a command that shows no progress
	defer signal.Stop(idle)
	e := &env{stdin: stdin, stderr: newConsole(stderr)}
	e.stdout = &output{w: stdout, console: e.stderr}
	args = args[min(1, len(args)):]
	e.args = args
	err := e.run(ctx, args)
	e.tellTraffic()
	if ctx.Err() != nil && err != nil {
		err = context.Canceled // the reason, whatever gave up first
	}
	if e.stdout.err != nil {
		err = e.stdout.err
	}
	if err != nil {
		// A command line with a mistake may not have set the flag.
		printError(e.stderr, e.json || asksForJSON(args), e.command, err)
	}
	return statusOf(err)
}

// endings returns the signals that end castar. SIGHUP, which a closing terminal sends, is one unless nohup ignores it.
func endings() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// run finds and runs the command that args, without the program's name, ask for.
func (e *env) run(ctx context.Context, args []string) error {
	app := e.app()
	line, err := parseLine(app, args)
	if err != nil {
		e.command = line.command.Name
		return err
	}
	switch {
	case line.version:
		line.command, line.args = app.Command("version"), nil
	case line.help && line.command.Name != "":
		line = &commandLine{command: app.Command("help"), args: []string{line.command.Name}}
	case line.help:
		line.command = app.Command("help")
	}
	e.command, e.dash = line.command.Name, line.dash
	switch {
	case e.command == "":
		if !asksForJSON(args) {
			printCommands(e.stderr, app, e.helpWidth())
		}
		return usagef("no command given")
	case len(line.args) > 0 && takesNone(line.command):
		return usagef("unexpected argument %s", quote(line.args[0]))
	case !line.command.Hidden && slices.Contains(line.args, ""): // an unset "$VARIABLE"
		return usagef("argument %d is empty", slices.Index(line.args, "")+1)
	}
	return line.run(ctx, app)
}

// takesNone reports whether a command takes flags and no arguments.
func takesNone(c *cli.Command) bool { return c.UsageText == "castar "+c.Name+" [flags]" }

func (e *env) app() *cli.App {
	app := &cli.App{
		Name:  "castar",
		Usage: "store trees, name each with one digest, and get them back",
		Flags: e.globalFlags(),
		// Help is a command like the others.
		HideHelp:    true,
		HideVersion: true,
	}
	app.Commands = []*cli.Command{
		e.ingestCommand(), e.exportCommand(), e.tagCommand(), e.logCommand(), e.forgetCommand(),
		e.diffCommand(), e.lsCommand(), e.catCommand(), e.findCommand(), e.statCommand(), e.duCommand(), e.statsCommand(),
		e.verifyCommand(), e.gcCommand(), e.copyCommand(), e.repairCommand(), e.initCommand(), e.serveCommand(), e.configCommand(),
		e.mountCommand(), e.umountCommand(),
		e.completionCommand(app), e.completeCommand(app, "__complete"), e.completeCommand(app, "__complete_typed"),
		e.completeCommand(app, "__complete_described"), e.completeBashCommand(app), e.versionCommand(), e.helpCommand(app),
	}
	for _, c := range app.Commands {
		c.HideHelp = true
		c.Flags = append(c.Flags, e.globalFlags()...)
	}
	app.Setup()
	return app
}

// globalFlags returns the flags of every command. They may also stand before the command.
func (e *env) globalFlags() []cli.Flag {
	const category = "Flags of every command"
	return append([]cli.Flag{
		&cli.StringFlag{Name: "store", Aliases: []string{"s"}, EnvVars: []string{"CASTAR_STORE"}, Destination: &e.store,
			Usage: "use `STORE`: a path, a URL or a composition file; see 'castar config --help'", DefaultText: defaultStoreText, Category: category},
		boolFlag("json", "", &e.json, "print results, errors and warnings as JSON, one object a line").in(category),
		boolFlag("quiet", "q", &e.quiet, "print only warnings and errors on stderr, no progress or notes").in(category),
		boolFlag("verbose", "v", &e.verbose, "print more on stderr: what a command does, and its traffic").in(category),
		choiceFlag("progress", &e.progress, "auto", "show a progress bar: `WHEN` is auto (on a terminal), always or never; json prints an object a second on stderr",
			"auto", "always", "never", "json").in(category),
	}, e.traffic.flags(category)...)
}

// warn says on stderr that something is wrong. The command goes on.
func (e *env) warn(text string) {
	text = store.ShortMessage(text)
	m := jsonMessage{Level: "warning", Command: e.command}
	m.Text, m.TextBase64 = store.JSONName(text)
	m.print(e.stderr, e.json, text)
}

// note says something useful on stderr, unless the user wants quiet or JSON.
func (e *env) note(text string) {
	if !e.quiet && !e.json {
		io.WriteString(e.stderr, "castar: "+e.command+": "+store.Escape(store.ShortMessage(text))+"\n")
	}
}

// output is stdout. It remembers the first error, so a command whose output is lost never succeeds.
type output struct {
	w       io.Writer
	console *console // may draw a bar on the same terminal; or nil
	err     error
}

// Write writes to stdout.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	if o.console != nil {
		o.console.makeWay()
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = &failure{err: errors.New("stdout: " + reason(err)), status: statusFailed}
	}
	return n, o.err
}

func (o *output) json(v jsonLine) { _ = writeJSON(o, v) } // o remembers

// reason returns what went wrong, without the operation and path that package os puts before it.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
