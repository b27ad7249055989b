//! One file per verb: arguments in, exit code out. Words for the user stand here and in `report`.

mod apply;
mod bind;
mod capture;
mod change;
mod check;
mod explain;
mod history;
mod hook;
mod list;
mod overview;
mod plan;
mod probe;
mod reset;
mod rollback;
mod rom;
mod setup;
mod verify;
mod vm;

use crate::error::{Error, Result};
use crate::facts::{self, Needs, Snapshot};
use crate::host::{Host, Kind, Tree, archive, console};
pub(crate) use crate::parse::shell::quoted;
use crate::report::{self, Style, plain};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "vfioneer",
    version,
    about = "Take a PCIe device or GPU of this host to a VM: what stands in the way, what would change, and back",
    after_help = "Without a command: this host in one screen.\n\
        DEVICE is a function (01:00.0), a slot (01:00), an id (10de:2684), or a part of the name.\n\
        A GPU stands for all functions of its slot.\n\n\
        Exit codes: 0 done, 1 the answer is no, 2 usage, 3 refused and nothing changed,\n\
        4 failed and undone, 5 a person is needed, 10 done: reboot, then verify,\n\
        70 a bug in vfioneer.",
    max_term_width = 80
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// Options that every verb takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Look at the system mounted at DIR instead of the running one
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Look at a host recorded with `vfioneer capture`
    #[arg(long, global = true, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Language of the texts
    #[arg(long, global = true, value_name = "LANG", default_value = "en", value_parser = ["en"])]
    lang: String,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: clap::ColorChoice,
    /// Say more
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List PCI functions with driver, IOMMU group, isolation, reset, NUMA node and boot display
    List(list::ListArgs),
    /// Say what stands in the way of passthrough, what is wrong, useless or dangerous, with evidence
    Check(check::CheckArgs),
    /// Do all of it: check, plan, apply, after the reboot verify, and give the VM the devices
    Setup(setup::SetupArgs),
    /// Show what would change on this host for a goal, and why; nothing is changed
    Plan(plan::PlanArgs),
    /// Change this host as a plan says, in one transaction that is undone if anything fails
    Apply(apply::ApplyArgs),
    /// Is every expectation of the last transaction true now, or will it be in the next boot?
    Verify(verify::VerifyArgs),
    /// Open devices through vfio as a VM would: BARs, interrupts, DMA, option ROM, what a reset touches
    Probe(probe::ProbeArgs),
    /// Bring back what a transaction changed
    Rollback(rollback::RollbackArgs),
    /// Hand functions to vfio now, without a reboot
    Bind(bind::BindArgs),
    /// Give functions back to their own drivers now
    Unbind(bind::UnbindArgs),
    /// Reset a device by what it offers, and prove that it came back
    Reset(reset::ResetArgs),
    /// Show the VMs of this host and the devices that they are given
    #[command(subcommand)]
    Vm(vm::VmVerb),
    /// Have VMs find their devices well when they start, and leave them well when they end
    #[command(subcommand)]
    Hook(hook::HookVerb),
    /// Show, check, read and patch option ROMs (video BIOS), in files and of cards
    Rom(rom::RomArgs),
    /// Show who changed what on this host, when, and how it ended
    History(history::HistoryArgs),
    /// Explain a finding, a symptom ("code 43", "black screen"), a term, or an IOMMU group
    Explain(explain::ExplainArgs),
    /// Record this host in a file, without what identifies it; every command reads it with --from
    Capture(capture::CaptureArgs),
}

/// What a verb wants said, and how it ends.
pub struct Answer {
    /// For stdout.
    text: String,
    /// The exit code.
    code: u8,
}

impl Answer {
    fn yes(text: String) -> Answer {
        Answer { text, code: 0 }
    }
}

/// Runs the program and gives its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        console::stderr(&format!(
            "vfioneer {}: this is a bug in vfioneer, not in your host: {info}\n\
             If it was changing the host, the next `vfioneer apply` or `vfioneer rollback` undoes what it had begun.\n\
             Please report it with the command that you typed.\n",
            env!("CARGO_PKG_VERSION")
        ));
        std::process::exit(70);
    }));
    let args: Vec<OsString> = args.into_iter().collect();
    let json = args.iter().any(|arg| arg == "--json");
    let parsed = Cli::command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render();
            if error.use_stderr() {
                console::stderr(&text.ansi().to_string());
                if json {
                    let text = text.to_string();
                    let line = text.lines().next().unwrap_or_default();
                    print_error(&Error::usage(line.strip_prefix("error: ").unwrap_or(line)));
                }
            } else {
                // Help that nobody could read is no reason for another exit code.
                let _ = console::stdout(&text.ansi().to_string());
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    color(cli.global.color);
    let said = run(&cli).and_then(|answer| console::stdout(&answer.text).map(|()| answer.code));
    match said {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let error = cli.global.placed(error);
            console::stderr(&render_error(&error));
            if cli.global.json {
                print_error(&error);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// The program's command line, for the generated reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// For a program that reads the answer. If nobody can, the text on stderr stands.
fn print_error(error: &Error) {
    let _ = console::stdout(&report::json::error(error));
}

fn run(cli: &Cli) -> Result<Answer> {
    if cli.global.root.is_some() && cli.global.from.is_some() {
        return Err(Error::usage("--root cannot be used with --from: a host is mounted, or recorded")
            .hint("leave out the one that does not lead to the host that you mean"));
    }
    match &cli.verb {
        None => overview::run(&cli.global),
        Some(Verb::List(args)) => list::run(&cli.global, args),
        Some(Verb::Check(args)) => check::run(&cli.global, args),
        Some(Verb::Plan(args)) => plan::run(&cli.global, args),
        Some(Verb::Verify(args)) => verify::run(&cli.global, args),
        Some(Verb::Probe(args)) => probe::run(&cli.global, args),
        Some(Verb::Setup(args)) => setup::run(&cli.global, args),
        Some(Verb::Apply(args)) => apply::run(&cli.global, args),
        Some(Verb::Rollback(args)) => rollback::run(&cli.global, args),
        Some(Verb::Bind(args)) => bind::bind(&cli.global, args),
        Some(Verb::Unbind(args)) => bind::unbind(&cli.global, args),
        Some(Verb::Reset(args)) => reset::run(&cli.global, args),
        Some(Verb::Vm(verb)) => vm::run(&cli.global, verb),
        Some(Verb::Hook(verb)) => hook::run(&cli.global, verb),
        Some(Verb::Rom(args)) => rom::run(&cli.global, args),
        Some(Verb::History(args)) => history::run(&cli.global, args),
        Some(Verb::Explain(args)) => explain::run(&cli.global, args),
        Some(Verb::Capture(args)) => capture::run(&cli.global, args),
    }
}

/// Sets when colours are used; anstream removes them where they do not belong.
fn color(choice: clap::ColorChoice) {
    match choice {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

fn render_error(error: &Error) -> String {
    let style = Style::stderr();
    let lines = |text: &str| match console::stderr_width() {
        Some(columns) if !stands_as_it_is(text) => report::wrap(text, 2, columns),
        _ => format!("  {text}\n"),
    };
    let first = lines(&plain(&format!("vfioneer: {error}")));
    let first = first.trim_start().strip_prefix("vfioneer:").unwrap_or_default().to_owned();
    let mut text = format!("{}{first}", style.error("vfioneer:"));
    text.extend(error.hints.iter().map(|hint| lines(&plain(hint))));
    text
}

/// Tables, what a command printed, and commands.
fn stands_as_it_is(text: &str) -> bool {
    text.contains("  ") || ["| ", "sudo ", STEP_BY_HAND].iter().any(|start| text.starts_with(start))
}

/// How a hint begins that says what a person does in place of a step.
const STEP_BY_HAND: &str = "what is to be done there:";
/// What belongs to a mounted host.
const STATE: &str = " /var/lib/vfioneer";

/// True if a hint is a command's own output.
fn is_output(hint: &str) -> bool {
    hint.starts_with("| ")
}

impl Global {
    /// An error as it is to be read from here: commands lead to the same host, and paths of its records below its root.
    fn placed(&self, mut error: Error) -> Error {
        let options = self.host_options();
        let root = self.root.as_ref().map(|dir| dir.display().to_string());
        let root = root.as_deref().map(|root| root.trim_end_matches('/'));
        let below = |text: &str| match root {
            Some(root) => text.replace(STATE, &format!(" {root}{}", STATE.trim_start())),
            None => text.to_owned(),
        };
        error.message = report::at_host(&below(&error.message), &options);
        for hint in error.hints.iter_mut().filter(|hint| !is_output(hint)) {
            if let Some(root) = root.filter(|_| hint.starts_with(STEP_BY_HAND)) {
                hint.push_str(&format!(" (with {root} as the root)"));
                continue;
            }
            // A command that ends a hint is one between backquotes.
            if let Some((text, command)) = hint.rsplit_once(": vfioneer ") {
                *hint = format!("{text}: `vfioneer {command}`");
            }
            *hint = report::at_host(&below(hint), &options);
        }
        error
    }

    /// Opens the host that the options name.
    fn host(&self) -> Result<Box<dyn Host>> {
        Ok(match (&self.root, &self.from) {
            (Some(dir), _) => Box::new(Tree::mounted(dir)?),
            (None, Some(file)) => Box::new(archive::load(file)?),
            (None, None) => Box::new(Tree::live()),
        })
    }

    /// Reads the host, showing on a terminal that something happens if it takes long.
    fn snapshot(&self, needs: Needs) -> Result<Snapshot> {
        let host = self.host()?;
        self.tell_open(host.as_ref());
        let label = host.label();
        Ok(console::with_progress(&format!("reading {label}"), || facts::collect(host.as_ref(), needs)))
    }

    /// Says on stderr, where it can be seen, that a transaction did not come to its end.
    fn tell_open(&self, host: &dyn Host) {
        if host.kind() == Kind::Recorded {
            return;
        }
        let all = crate::apply::history::all(host).unwrap_or_default();
        let open = all.iter().filter_map(|entry| entry.transaction.as_ref().ok()).find(|one| one.journal.is_open());
        if let Some(one) = open {
            console::stderr(&format!(
                "vfioneer: transaction {} was interrupted, or is still at work. If nothing is: vfioneer {}rollback\n",
                one.id,
                self.host_options()
            ));
        }
    }

    /// Refuses a verb that reads the records of transactions, which a recording does not hold.
    fn has_history(&self) -> Result<()> {
        match &self.from {
            Some(file) => Err(Error::refused(format!("{} is a recording, which holds no history", file.display()))
                .hint("run the command on the host itself, or with --root on its mounted system")),
            None => Ok(()),
        }
    }

    /// How to write on stdout.
    fn style(&self) -> Style {
        Style::stdout()
    }

    /// Options that lead to the same host, to repeat in commands that are suggested.
    fn host_options(&self) -> String {
        match (&self.root, &self.from) {
            (Some(dir), _) => format!("--root {} ", quoted(&dir.display().to_string())),
            (None, Some(file)) => format!("--from {} ", quoted(&file.display().to_string())),
            (None, None) => String::new(),
        }
    }
}

/// A transaction's number, as clap reads it.
fn transaction(text: &str) -> std::result::Result<u32, String> {
    text.parse().map_err(|_| "give a number that `vfioneer history` shows".to_owned())
}
