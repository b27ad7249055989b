//! `vfioneer setup DEVICE --vm VM`: everything from here to the device in the VM, over a reboot if there must be one.
//!
//! Each part sees for itself whether it is done, so that `--resume` is the same run once more.

use super::apply::applicable;
use super::change::{self, Progress, REBOOT, consent};
use super::plan::{GoalArgs, resolved};
use super::verify::{self, VerifyArgs};
use super::vm::{mapping_name, select};
use super::{Answer, Global};
use crate::adapters::vm::proxmox;
use crate::apply::setup::{self, Setup};
use crate::apply::{Session, history};
use crate::error::{Error, Result};
use crate::facts::{Needs, Snapshot};
use crate::goal::{Goal, RomFile};
use crate::host::{Caller, Host, Interrupt, Kind, TreeMut, console};
use crate::plan::vm::How;
use crate::plan::{self, Plan};
use crate::report::plan::Next;
use crate::report::{self, Style};
use clap::Args;

/// Arguments of `setup`.
#[derive(Args, Debug)]
#[command(after_help = "Checks, plans, asks once, applies, and, after the reboot if there has to be one,\n\
    verifies and gives the VM the devices. Interrupted anywhere, `setup --resume`\n\
    goes on; `vfioneer rollback` undoes one part after the other, the last one first.\n\n\
    With --reboot the host is rebooted when that is due. A unit of systemd's goes on\n\
    afterwards, and removes itself: journalctl -u vfioneer-setup. VMs of Proxmox VE\n\
    that start with the host and have the devices wait until all is verified.\n\n\
    Exit codes: 0 done, 1 what was applied is not true, 2 usage, 3 refused and\n\
    nothing changed, 4 failed and undone, 5 a person is needed, 10 reboot, then\n\
    --resume.")]
pub struct SetupArgs {
    #[command(flatten)]
    goal: GoalArgs,
    /// Proxmox VE: give the VM the devices by the cluster mapping NAME
    #[arg(long, value_name = "NAME", value_parser = mapping_name, requires = "vm")]
    mapping: Option<String>,
    /// Reboot when it is due, and go on by itself afterwards
    #[arg(long)]
    reboot: bool,
    /// Go on with what was interrupted, or waits for the reboot
    #[arg(long, conflicts_with_all = ["device", "goal", "vm", "mapping", "rom", "allow", "method", "only", "vfs", "repair", "iommu_pt", "serial_console"])]
    resume: bool,
    /// Nobody has seen what would be changed: only what was agreed to is done
    #[arg(long, hide = true, requires = "resume")]
    unattended: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// One run.
struct Run<'a> {
    global: &'a Global,
    args: &'a SetupArgs,
    host: TreeMut,
    progress: Progress,
    /// Asked and answered.
    agreed: bool,
    /// What was applied now.
    transactions: Vec<u32>,
}

pub(super) fn run(global: &Global, args: &SetupArgs) -> Result<Answer> {
    let host = change::host(global)?;
    if args.reboot && host.kind() != Kind::Live {
        return Err(Error::usage("--reboot is for the running host, and --root names another")
            .hint("leave it out; once that system runs: vfioneer setup --resume"));
    }
    if args.resume && host.kind() == Kind::Live && Caller::new().is_root() {
        // Once is enough: what stops now would stop at every boot.
        setup::disarm(&host)?;
    }
    let mut progress = Progress::new(global);
    let recovered = Session::open(&host, Caller::new())?.recover(&mut |event| progress.tell(event))?;
    change::is_whole(&recovered)?;
    let host = host.heeding(Interrupt::watch());
    let Some(setup) = wish(&host, args)? else {
        return Ok(Answer::yes("Nothing to go on with: no setup is open.\n".to_owned()));
    };
    if host.kind() == Kind::Live {
        change::settle(&host)?;
    }
    let mut run = Run { global, args, host, progress, agreed: args.yes, transactions: Vec::new() };
    run.all(setup)
}

/// What is wanted: what is open, or what was typed.
fn wish(host: &TreeMut, args: &SetupArgs) -> Result<Option<Setup>> {
    let open = Setup::load(host)?;
    if args.resume {
        return Ok(open);
    }
    let request = args.goal.request()?;
    if request.vfs.is_some() && request.vm.is_some() {
        return Err(Error::usage(
            "with --vfs the device stays with the host, and its virtual functions are not there yet",
        )
        .hint("without --vm first, then: vfioneer vm attach VF VM"));
    }
    let new = Setup::new(request, args.mapping.clone());
    match open {
        None => Ok(Some(new)),
        Some(open) if (&open.goal, &open.mapping) == (&new.goal, &new.mapping) => Ok(Some(open)),
        Some(open) => Err(Error::refused(format!("another setup is open: {}", described(&open)))
            .hint("finish it first: vfioneer setup --resume")
            .hint("or undo it: vfioneer rollback")),
    }
}

fn described(setup: &Setup) -> String {
    let vm = setup.goal.vm.as_ref().map(|vm| format!(" for VM {vm}")).unwrap_or_default();
    format!("{}{vm}", setup.goal.devices.join(" "))
}

impl Run<'_> {
    fn all(&mut self, mut setup: Setup) -> Result<Answer> {
        let due = self.claim(&mut setup)?;
        if due || self.is_reboot_due()? {
            return self.reboot(&setup);
        }
        if let Some(failed) = self.verify(&setup)? {
            return Ok(failed);
        }
        self.attach(&setup)?;
        self.let_go(&setup)?;
        Setup::forget(&self.host)?;
        let vm = setup.goal.vm.as_deref();
        Ok(Answer::yes(match self.global.json {
            true => report::setup::json(true, false, vm, &self.transactions),
            false => {
                let earlier = setup.transaction.filter(|id| !self.transactions.contains(id));
                let parts = self.transactions.len() + usize::from(earlier.is_some());
                report::setup::done(&self.global.style(), vm, parts, &self.global.host_options())
            }
        }))
    }

    /// Has the devices claimed. True if that needs a reboot.
    fn claim(&mut self, setup: &mut Setup) -> Result<bool> {
        let (snap, goal) = self.read(setup)?;
        let mut plan = plan::make(&snap, &goal);
        if self.args.unattended && !plan.steps.is_empty() {
            return Err(Error::refused("the host has changed since: what was applied is not all that is needed now")
                .hint("look at it: vfioneer setup --resume"));
        }
        let options = self.global.host_options();
        let next = Next { options: &options, ..Next::default() };
        applicable(&snap, &plan, &next, &self.args.goal.typed())?;
        // What the VM is in the way of is said before anything is changed.
        let last = self.for_vm(setup, &snap, &goal)?;
        if plan.steps.is_empty() {
            return Ok(false);
        }
        let before = setup.clone();
        if plan.reboot {
            let (held, work) = proxmox::hold_back(&snap, &goal.devices);
            setup.held.extend(held);
            let steps = work.files.into_iter().chain(work.commands);
            plan.steps.splice(0..0, steps);
        }
        if !self.global.json {
            let mut text = report::plan::text(&Style::stderr(), &snap, &plan, &next);
            text.push_str(&report::setup::then(
                &Style::stderr(),
                &plan,
                setup.goal.vm.as_deref(),
                last.as_ref(),
                self.args.reboot,
            ));
            console::stderr(&text);
        }
        self.ask("Do all this?")?;
        let session = Session::open(&self.host, Caller::new())?;
        let progress = &mut self.progress;
        session.recover(&mut |event| progress.tell(event))?;
        if let Some(rom) = &goal.rom {
            Setup::save_rom(&self.host, &rom.bytes)?;
        }
        setup.save(&self.host)?;
        match session.apply(&plan, &mut |event| progress.tell(event)) {
            Ok(applied) => {
                self.transactions.push(applied.id);
                setup.transaction = setup.transaction.or(Some(applied.id));
                setup.save(&self.host)?;
            }
            Err(error) => {
                // All is as it was: what was open before is open, and nothing else.
                match before.transaction {
                    Some(_) => before.save(&self.host)?,
                    None => Setup::forget(&self.host)?,
                }
                return Err(error);
            }
        }
        Ok(plan.reboot)
    }

    fn read(&self, setup: &Setup) -> Result<(Snapshot, Goal)> {
        let snap = self.global.snapshot(Needs::PLAN)?;
        let mut request = setup.goal.clone();
        let kept = Setup::rom(&self.host).and_then(|bytes| Some(RomFile { path: request.rom.take()?, bytes }));
        let mut goal = resolved(request, &snap)?;
        if kept.is_some() {
            (goal.rom, goal.request.rom) = (kept, setup.goal.rom.clone());
        }
        Ok((snap, goal))
    }

    /// The plan for the VM, if one is wanted. Fails if it is refused.
    fn for_vm(&self, setup: &Setup, snap: &Snapshot, goal: &Goal) -> Result<Option<Plan>> {
        let Some(vm) = &setup.goal.vm else { return Ok(None) };
        let plan = plan::vm::attach(snap, goal, select(snap, vm)?, How { mapping: setup.mapping.as_deref() });
        if plan.refused.is_empty() && plan.manual.is_empty() {
            return Ok(Some(plan));
        }
        let options = self.global.host_options();
        let next = Next { options: &options, ..Next::default() };
        console::stderr(&report::plan::text(&Style::stderr(), snap, &plan, &next));
        Err(Error::refused(format!("VM {vm} cannot be given the devices, for the reasons above"))
            .hint("what --allow gives away is said in `vfioneer plan --help`"))
    }

    fn ask(&mut self, question: &str) -> Result<()> {
        if !self.agreed {
            consent(false, question)?;
            self.agreed = true;
        }
        Ok(())
    }

    /// True if what was applied waits for a boot.
    fn is_reboot_due(&self) -> Result<bool> {
        let boot = self.host.value("/proc/sys/kernel/random/boot_id").into_known();
        let all = history::all(&self.host)?.into_iter().filter_map(|entry| entry.transaction.ok());
        let waits = |one: &crate::apply::store::Transaction| {
            one.journal.is_in_effect() && one.plan.reboot && one.journal.boot_id == boot
        };
        Ok(self.host.kind() == Kind::Live && boot.is_some() && all.into_iter().any(|one| waits(&one)))
    }

    fn reboot(&mut self, setup: &Setup) -> Result<Answer> {
        let vm = setup.goal.vm.as_deref();
        setup.save(&self.host)?;
        if self.args.reboot {
            self.ask("Reboot now?")?;
            let own = self.host.link("/proc/self/exe").into_known().unwrap_or_default();
            setup::arm(&self.host, &own)?;
            console::stderr("Rebooting now; it goes on by itself afterwards (journalctl -u vfioneer-setup).\n");
            setup::reboot(&self.host)?;
        }
        let text = match self.global.json {
            true => report::setup::json(false, true, vm, &self.transactions),
            false => report::setup::reboot(&self.global.style(), self.args.reboot, &self.global.host_options()),
        };
        Ok(Answer { text, code: REBOOT })
    }

    /// What is not true, if anything is not.
    fn verify(&mut self, setup: &Setup) -> Result<Option<Answer>> {
        let any = history::all(&self.host)?
            .iter()
            .any(|e| e.transaction.as_ref().is_ok_and(|one| one.journal.is_in_effect()));
        if !any {
            return self.is_claimed(setup).map(|()| None);
        }
        let found = verify::run(self.global, &VerifyArgs::default())?;
        if found.code == 0 {
            if !self.global.json {
                console::stderr(&found.text);
            }
            return Ok(None);
        }
        console::stderr(&report::setup::not_true(&self.global.host_options()));
        Ok(Some(found))
    }

    /// Where the user's own configuration claims the devices, there is no transaction to ask about.
    fn is_claimed(&self, setup: &Setup) -> Result<()> {
        let (snap, goal) = self.read(setup)?;
        let late = goal.devices.iter().filter_map(|address| snap.pci.get(address)).find(|function| !function.on_vfio());
        match late {
            None => Ok(()),
            Some(function) => Err(Error::refused(format!("{} is not on vfio", function.address))
                .hint(format!("vfioneer check {}", function.address))),
        }
    }

    fn attach(&mut self, setup: &Setup) -> Result<()> {
        let (snap, goal) = self.read(setup)?;
        let Some(plan) = self.for_vm(setup, &snap, &goal)? else { return Ok(()) };
        if plan.steps.is_empty() {
            return Ok(());
        }
        if !self.global.json {
            let options = self.global.host_options();
            let next = Next { options: &options, ..Next::default() };
            console::stderr(&report::plan::text(&Style::stderr(), &snap, &plan, &next));
        }
        self.ask("Give the VM the devices?")?;
        self.apply(&plan)
    }

    fn let_go(&mut self, setup: &Setup) -> Result<()> {
        if setup.held.is_empty() {
            return Ok(());
        }
        let snap = self.global.snapshot(Needs { vms: true, fingerprint: true, ..Needs::LIST })?;
        let plan = plan::vm::let_go(&snap, &setup.held);
        if plan.steps.is_empty() { Ok(()) } else { self.apply(&plan) }
    }

    fn apply(&mut self, plan: &Plan) -> Result<()> {
        let session = Session::open(&self.host, Caller::new())?;
        let progress = &mut self.progress;
        session.recover(&mut |event| progress.tell(event))?;
        self.transactions.push(session.apply(plan, &mut |event| progress.tell(event))?.id);
        Ok(())
    }
}
