//! The one binary `lifeboat`: arguments, wiring and printing. What is decided and done stands on
//! the floors below.

mod args;
mod commands;
mod demo;
mod environment;
mod fault;
mod fault_from;
mod hands;
mod init;
mod interrupt;
mod key;
mod plan_file;
mod progress;
mod render;
mod screen;
mod text;
mod when;
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use lifeboat_adapters::SystemClock;
use lifeboat_model::exit::Exit;

use args::{Cli, Command};
use environment::Environment;
use fault::{Fault, Outcome};
use hands::Hands;
use screen::{Reply, Screen};

fn main() -> ExitCode {
    if let Some(code) = as_example_application() {
        return code;
    }
    if commands::wal::is_restore_command(std::env::args_os().skip(1)) {
        return commands::wal::as_restore_command(run);
    }
    ExitCode::from(run().0.code())
}

/// Runs a command; what it ends with, and whether it is its answer that says *failed*: neither an
/// error nor a result that could not be printed.
fn run() -> (Exit, bool) {
    let environment = Environment;
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return (usage(&error), false),
    };
    let screen = Screen::new(cli.global.json, cli.global.quiet, environment.no_color());
    let cancel = lifeboat_vault::Cancel::default();
    if let Err(error) = interrupt::install(&cancel, cli.global.quiet) {
        return (screen.fault(&Fault::caused(Exit::Failed, "cannot catch signals", &error)), false);
    }
    let clock = Arc::new(SystemClock::new());
    let hands = Hands { global: &cli.global, screen: &screen, environment, clock, cancel };
    match dispatch(&cli.command, &hands) {
        Ok(reply) => (screen.reply(&reply), reply.exit == Exit::Failed),
        Err(fault) => (screen.fault(&fault), false),
    }
}

fn dispatch(command: &Command, hands: &Hands<'_>) -> Outcome<Reply> {
    use commands::{
        bootstrap, doctor, export, keys, kit, lint, maintain, manuals, plan, protect, prove,
        restore, status, stream, wal,
    };
    match command {
        Command::Init(args) => init::init(args, &hands.global.plan, hands.screen),
        Command::Lint(args) => lint::lint(args, hands),
        Command::Plan(args::PlanOf::Show) => plan::show(hands),
        Command::Backup(args) => protect::backup(args, hands),
        Command::Stream(args) => stream::stream(args, hands),
        Command::Wal(args::Wal::Push(args)) => wal::push(args, hands),
        Command::Wal(args::Wal::Fetch(args)) => wal::fetch(args, hands),
        Command::List(args) => protect::list(args, hands),
        Command::Verify(args) => protect::verify(args, hands),
        Command::Restore(args) => restore::restore(args, hands),
        Command::Drill(args::Drill::Run(args)) => prove::drill_run(args, hands),
        Command::Drill(args::Drill::List) => prove::drill_list(hands),
        Command::Prune(args) => maintain::prune(args, hands),
        Command::Copy(args) => maintain::copy(args, hands),
        Command::Export(args) => export::export(args, hands),
        Command::Repair(args::Repair::Index(args)) => maintain::repair_index(args, hands),
        Command::Key(args::Key::Add(args)) => keys::add(args, hands),
        Command::Key(args::Key::Rotate(args)) => keys::rotate(args, hands),
        Command::Kit(args) => kit::kit(args, hands),
        Command::Bootstrap(args) => bootstrap::bootstrap(args, hands),
        Command::Status(args) => status::status(args, hands),
        Command::Audit(args::Audit::Log(args)) => prove::audit_log(args, hands),
        Command::Audit(args::Audit::Verify(args)) => prove::audit_verify(args, hands),
        Command::Doctor(_) => doctor::doctor(hands),
        Command::Demo(args) => demo::demo(args, hands),
        Command::Schema => manuals::schema(),
        Command::Completions(args) => manuals::completions(args),
        Command::Man(args) => manuals::man(args),
    }
}

/// Help and version are results; everything else that the parser says is a usage error.
fn usage(error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let printed = error.print().and_then(|()| io::stdout().flush());
        return match screen::quiet_pipe(printed) {
            Ok(()) => Exit::Done,
            Err(error) => Screen::new(false, false, true).fault(&screen::not_printed(&error)),
        };
    }
    // The arguments did not parse, so that `--json` has to be looked for by hand.
    let json = std::env::args_os().any(|arg| arg == "--json");
    let screen = Screen::new(json, false, true);
    if let Some(verb) = later_verb(error) {
        let fault = Fault::usage(format!("`{verb}` comes in a later version"))
            .hint("lifeboat --help lists the commands of this one");
        return screen.fault(&fault);
    }
    if json {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let sentence = lines.next().unwrap_or("usage error").trim_start_matches("error: ");
        let hint = lines.find(|line| line.starts_with("Usage:")).map(ToOwned::to_owned);
        return screen.fault(&Fault::usage(sentence).hint_if(hint));
    }
    let _ = error.print();
    Exit::Usage
}

/// The verb that was asked for, if a later version brings it.
fn later_verb(error: &clap::Error) -> Option<&'static str> {
    let ContextValue::String(verb) = error.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    args::LATER.iter().copied().find(|later| later == verb)
}

/// The demonstration starts this program a second time, as the application that it protects.
fn as_example_application() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != demo::application::ARGUMENT {
        return None;
    }
    Some(demo::application::serve(arguments.next()?.as_ref()))
}
