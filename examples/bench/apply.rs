//! What `apply` itself takes: a plan is made, applied and read back on a constructed host, without the time of the commands that it runs. The
//! host lies in memory where there is such a place, so that syncs take nothing.

use crate::hosts;
use crate::scripted::Scripted;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vfioneer::apply::Session;
use vfioneer::facts::{self, Needs};
use vfioneer::goal::Request;
use vfioneer::host::change::{Chroot, Command, Done, Runner, TreeMut};
use vfioneer::host::{Caller, Host};
use vfioneer::plan;

/// GRUB, initramfs-tools, one kernel.
const HOST: &str = "ubuntu24.04-intel-grub-gpu-and-igpu";
const DEVICE: &str = "01:00";

/// Adds up the time of the commands.
#[derive(Debug, Default)]
struct Timed {
    scripts: Scripted,
    spent: Arc<AtomicU64>,
}

impl Runner for Timed {
    fn has_program(&self, host: &dyn Host, program: &str) -> bool {
        self.scripts.has_program(host, program)
    }

    fn run(&self, root: Chroot<'_>, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done> {
        let start = Instant::now();
        let done = self.scripts.run(root, command, progress);
        let spent = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.spent.fetch_add(spent, Ordering::Relaxed);
        done
    }

    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        self.scripts.write_attribute(root, path, value)
    }
}

/// One run: all of it without the commands, and the commands.
pub fn once() -> Result<(Duration, Duration), String> {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.map_err(|e| e.to_string())?;
    hosts::write(&hosts::tree(&hosts::load(HOST)), dir.path()).map_err(|e| e.to_string())?;
    std::fs::create_dir_all(dir.path().join("var/tmp")).map_err(|e| e.to_string())?;
    let runner = Timed::default();
    let spent = Arc::clone(&runner.spent);
    let host = TreeMut::mounted(dir.path()).map_err(|e| e.to_string())?.with_runner(Box::new(runner));
    let start = Instant::now();
    let snap = facts::collect(&host, Needs::PLAN);
    let request = Request { devices: vec![DEVICE.to_owned()], ..Request::default() };
    let goal = request.resolve(&snap.pci).map_err(|e| e.to_string())?;
    let plan = plan::make(&snap, &goal);
    if !plan.applicable || plan.steps.is_empty() {
        return Err(format!("{HOST} has no plan for {DEVICE}"));
    }
    let session = Session::open(&host, Caller::new()).map_err(|e| e.to_string())?;
    session.apply(&plan, &mut |_| ()).map_err(|e| e.to_string())?;
    let commands = Duration::from_nanos(spent.load(Ordering::Relaxed));
    Ok((start.elapsed().saturating_sub(commands), commands))
}
