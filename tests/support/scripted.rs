//! Runs the scripts in `tests/support/tools` in place of a distribution's tools (see README.md there).

use super::hosts::images;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use vfioneer::host::Host;
use vfioneer::host::change::{Chroot, Command, Done, Runner};

/// The scripts.
pub fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tools")
}

/// A runner of the scripts, on the host whose root is the directory of the call.
#[derive(Debug, Default)]
pub struct Scripted {
    /// More of the scripts' environment: `FAULT` makes one fail half-way, `DIE_AT` ends all at a call.
    pub more: Vec<(String, String)>,
}

impl Runner for Scripted {
    fn has_program(&self, _host: &dyn Host, program: &str) -> bool {
        program == "env" || tools().join(program).is_file()
    }

    fn run(&self, root: Chroot<'_>, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done> {
        let root = root.ok_or_else(|| io::Error::other("scripts change no running machine"))?;
        let done = run(root, command.argv, &self.more)?;
        done.text().lines().for_each(progress);
        Ok(done)
    }

    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        let root = root.ok_or_else(|| io::Error::other("scripts change no running machine"))?;
        std::fs::write(root.join(path.trim_start_matches('/')), value)
    }
}

/// Runs one command by its script.
pub fn run(root: &Path, argv: &[String], more: &[(String, String)]) -> io::Result<Done> {
    // env(1) with settings in front of the command: the scripts need none of them.
    let settings = match argv.first() {
        Some(first) if first == "env" => 1 + argv.iter().skip(1).take_while(|word| word.contains('=')).count(),
        _ => 0,
    };
    let argv = argv.get(settings..).unwrap_or_default();
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let script = tools().join(program.rsplit('/').next().unwrap_or_default());
    if !script.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no script for {program}")));
    }
    let stage = tempfile::tempdir()?;
    let mut process = Process::new(script);
    process.args(arguments).env_clear();
    process.env("PATH", format!("{}:/usr/bin:/bin", tools().display())).env("LC_ALL", "C");
    process.env("ROOT", root).env("TOOLS", tools()).env("STAGE", stage.path());
    process.envs(more.iter().cloned()).process_group(0);
    let output = process.output()?;
    if let (true, Ok(out)) = (output.status.success(), std::fs::read_to_string(stage.path().join("out"))) {
        let image = images::pack(&stage.path().join("image"))?;
        let read = |name: &str| std::fs::read_to_string(stage.path().join(name)).unwrap_or_default();
        let unified = stage.path().join("cmdline").is_file();
        let bytes = if unified { images::unified(&read("release"), &read("cmdline"), image) } else { image };
        std::fs::write(root.join(out.trim().trim_start_matches('/')), bytes)?;
    }
    let bytes = [output.stdout, output.stderr].concat();
    Ok(Done { status: output.status.code(), output: bytes, ..Done::default() })
}
