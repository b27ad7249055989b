//! What the verbs that change a host share: the host itself, and what is said while they work.

use super::{Answer, Global};
use crate::apply::{Event, Recovered, Session};
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::host::{Caller, Interrupt, Tree, TreeMut, console};
use crate::live::hand_over::{self, Desk};
use crate::plan::Plan;
use crate::report::plan::{Next, what};
use crate::report::{self, Style, cut, plain};

/// A guard refuses; the reasons are the result.
pub(super) const REFUSED: u8 = 3;
/// Done; reboot, then verify.
pub(super) const REBOOT: u8 = 10;

/// The most columns of a line that a command prints.
const LONGEST: usize = 160;

/// The host that the options name, to be changed.
pub(super) fn host(global: &Global) -> Result<TreeMut> {
    match (&global.root, &global.from) {
        (None, Some(_)) => Err(Error::refused("a recorded host cannot be changed")
            .hint("run the command on the host itself, or with --root on its mounted system")),
        // Its commands are started elsewhere.
        (Some(dir), _) => TreeMut::mounted(&Tree::absolute(dir)),
        (None, None) => Ok(TreeMut::live()),
    }
}

/// Says on stderr what happens. A command that takes long shows the seconds on a terminal.
pub(super) struct Progress {
    verbose: bool,
    terminal: bool,
    seconds: u32,
}

impl Progress {
    pub(super) fn new(global: &Global) -> Progress {
        Progress { verbose: global.verbose, terminal: console::stderr_is_terminal(), seconds: 0 }
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        if let Event::Output("") = event {
            self.seconds += 1;
            if self.terminal {
                console::stderr(&format!("\r      {} s ", self.seconds));
            }
            return;
        }
        let text = match event {
            Event::Recovering(id) => format!("Transaction {id} was interrupted; it is undone first.\n"),
            Event::Step(number, all, action) => format!("[{number}/{all}] {}\n", plain(&what(action))),
            Event::Undo(action) => format!("[undo] {}\n", plain(&what(action))),
            Event::Output(line) if self.verbose => format!("      | {}\n", cut(&plain(line), LONGEST)),
            Event::Output(_) => return,
            Event::Note(note) => format!("      {}\n", plain(note)),
        };
        if self.seconds > 0 && self.terminal {
            console::stderr("\r\x1b[K");
        }
        self.seconds = 0;
        console::stderr(&text);
    }
}

/// What an interrupted command that handed devices over left half done is taken back before anything else, and before anybody is asked.
pub(super) fn settle(host: &TreeMut) -> Result<()> {
    let desk = Desk::open(host, &Caller::new())?;
    let mut told = |event: hand_over::Event<'_>| {
        if matches!(event, hand_over::Event::Recovering) {
            console::stderr("A command that handed devices over was interrupted; it is taken back first.\n");
        }
    };
    desk.recover(&mut told).map(|_| ())
}

/// Fails if finishing an interrupted rollback left something that a person has to look at first.
pub(super) fn is_whole(recovered: &[Recovered]) -> Result<()> {
    let left = recovered.iter().flat_map(|one| &one.done.left).find(|left| left.matters);
    match left {
        None => Ok(()),
        Some(left) => Err(Error::incomplete(format!("{} was left as it is: it {}", left.path, left.reason))
            .hint("an interrupted rollback was finished but for this; look at the file, then run this again")),
    }
}

/// Makes the plan for a host; it is made again once nothing of an interrupted one is left.
pub(super) type Make<'a> = &'a dyn Fn(&TreeMut) -> Result<(Plan, Snapshot)>;

/// Shows a plan, asks, and applies it as a transaction.
pub(super) fn transaction(global: &Global, host: TreeMut, yes: bool, make: Make<'_>) -> Result<Answer> {
    let mut progress = Progress::new(global);
    let recovered = Session::open(&host, Caller::new())?.recover(&mut |event| progress.tell(event))?;
    is_whole(&recovered)?;
    let (plan, snap) = make(&host)?;
    if !plan.refused.is_empty() {
        return Ok(shown(global, &snap, &plan));
    }
    if plan.steps.is_empty() {
        let notes: String = plan.notes.iter().chain(&plan.manual).map(|note| format!("{note}\n")).collect();
        console::stderr(&notes);
        return Ok(Answer::yes(report::transaction::nothing(global.json)));
    }
    let options = global.host_options();
    if !global.json {
        let next = Next { options: &options, ..Next::default() };
        console::stderr(&report::plan::text(&Style::stderr(), &snap, &plan, &next));
    }
    consent(yes, "Apply this?")?;
    let host = host.heeding(Interrupt::watch());
    let session = Session::open(&host, Caller::new())?;
    session.recover(&mut |event| progress.tell(event))?;
    let applied = session.apply(&plan, &mut |event| progress.tell(event))?;
    Ok(Answer::yes(match global.json {
        true => report::transaction::applied_json(applied.id, &plan),
        false => report::transaction::applied(&global.style(), applied.id, &plan, &options),
    }))
}

/// A plan that is only shown: because it is refused, or nothing is to be changed.
pub(super) fn shown(global: &Global, snap: &Snapshot, plan: &Plan) -> Answer {
    let text = match global.json {
        true => report::plan::json(plan),
        false => {
            let options = global.host_options();
            let next = Next { options: &options, verbose: global.verbose, ..Next::default() };
            report::plan::text(&global.style(), snap, plan, &next)
        }
    };
    if plan.refused.is_empty() {
        return Answer::yes(text);
    }
    let mut guards: Vec<&str> = plan.refused.iter().map(|refusal| refusal.guard).collect();
    guards.dedup();
    console::stderr(&format!("vfioneer: refused ({}): nothing was changed\n", guards.join(", ")));
    Answer { text, code: REFUSED }
}

/// Asks, where the options do not answer already.
pub(super) fn consent(yes: bool, question: &str) -> Result<()> {
    let answer = if yes { Some(true) } else { console::confirm(question) };
    match answer {
        Some(true) => Ok(()),
        Some(false) => Err(Error::refused("nothing was changed")),
        None => Err(Error::refused("nobody can be asked here: standard input is no terminal")
            .hint("add --yes to go on without being asked")),
    }
}
