//! The demonstration: one emulated host with two identical GPUs, which holds both, has one of them set up for a VM, reboots, and the VM draws on it.
//! Then it takes all of it back.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cells::{Cell, State, Vendor};
use crate::monitor::Monitor;
use crate::variant::Variant;
use crate::{disk, guest, machine, picture, variant};

/// How often the GPU's screen is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// An OVMF that draws shows its picture for as long as nothing else is drawn: two looks that are alike.
const ALIKE: u32 = 2;

/// The stages, each a boot, and what is said before it.
const STAGES: [(&str, &str); 3] = [
    ("setup", "Booting an emulated PC in QEMU; no hardware is needed."),
    ("vm", "It has rebooted, and goes on by itself."),
    ("back", "Rebooting it, to see that all is as it was."),
];

/// Boots the host and prints each of its answers as soon as it is there.
pub fn run(folder: &Path, binary: &Path) -> Result<(), String> {
    let host = Cell { variant: Variant::usual(13), vendor: Vendor::Amd, state: State::IdenticalGpus };
    let image = host.variant.image()?;
    let hypervisor = variant::script("hypervisor.sh", &[host.variant.suite()])?;
    let folder = folder.join("demo");
    disk::share(&folder, binary, &["demo.sh"])?;
    // Its IOMMU is off, as on most hosts of those who begin.
    disk::prepare(State::OffInKernel, host.vendor, &image, &folder)?;
    let mut machine = host.machine().arguments();
    machine.extend(machine::words(&[
        "-m 2G".to_owned(),
        format!("-drive if=none,id=hypervisor,format=raw,readonly=on,file={}", hypervisor.display()),
        "-device virtio-blk-pci,drive=hypervisor,serial=hypervisor,addr=09.0".to_owned(),
    ]));
    let mut show = Show::new(&folder);
    for (stage, said) in STAGES {
        show.line(&format!("\n{said}"));
        let stage_file = folder.join("share/stage");
        fs::write(&stage_file, stage).map_err(|e| format!("{}: {e}", stage_file.display()))?;
        let mut trouble = None;
        guest::boot(&machine, &folder, |elapsed, monitor| {
            trouble = show.look(stage, elapsed, monitor).err();
            trouble.is_none()
        })?;
        trouble.map_or(Ok(()), Err)?;
        show.answers();
        let out = folder.join("share/out");
        if !out.join(stage).exists() || out.join("failed").exists() {
            return Err(format!("the host did not do its part\n{}", guest::tail(&folder.join("serial.log"), 20)));
        }
    }
    match show.picture {
        None => return Err("there is no picture of the GPU's screen".to_owned()),
        Some(path) => println!("\nWhat the VM drew on the GPU: {}", path.display()),
    }
    disk::discard(&folder)
}

/// What is on the terminal.
struct Show {
    folder: PathBuf,
    terminal: bool,
    shown: u32,
    said: Instant,
    looked: Instant,
    /// The last picture, and how often it was the same.
    last: (Vec<u8>, u32),
    picture: Option<PathBuf>,
}

impl Show {
    fn new(folder: &Path) -> Show {
        let now = Instant::now();
        let terminal = std::io::stdout().is_terminal();
        let folder = folder.to_owned();
        Show { folder, terminal, shown: 0, said: now, looked: now, last: (Vec::new(), 0), picture: None }
    }

    fn line(&mut self, text: &str) {
        if self.terminal {
            print!("\r\x1b[K");
        }
        println!("{text}");
        self.said = Instant::now();
    }

    /// Called all the time while the host runs.
    fn look(&mut self, stage: &str, elapsed: Duration, monitor: &mut Monitor) -> Result<(), String> {
        self.answers();
        let waits = self.folder.join("share/out/screen").exists() && self.picture.is_none();
        if waits && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.screen(monitor)?;
        }
        if self.said.elapsed() >= Duration::from_secs(if self.terminal { 1 } else { 10 }) {
            let doing = match stage {
                _ if waits => "the VM's firmware starts on the GPU",
                "setup" if self.folder.join("share/out/setup").exists() => "the emulated PC is being set up",
                _ => "the emulated PC is starting or working",
            };
            let line = format!("{:3} s  {doing}", elapsed.as_secs());
            if self.terminal {
                print!("\r\x1b[K{line}");
                let _ = std::io::stdout().flush();
            } else {
                println!("{line}");
            }
            self.said = Instant::now();
        }
        Ok(())
    }

    /// The answers that came since.
    fn answers(&mut self) {
        let out = self.folder.join("share/out");
        while let Ok(text) = fs::read_to_string(out.join(format!("{}.answer", self.shown + 1))) {
            self.shown += 1;
            self.line(&format!("\n{text}"));
        }
    }

    /// Looks at the GPU's screen; keeps what is drawn there.
    fn screen(&mut self, monitor: &mut Monitor) -> Result<(), String> {
        let ppm = self.folder.join("screen.ppm");
        let said = monitor.human("screendump screen.ppm spare")?;
        if !said.trim().is_empty() {
            return Err(format!("screendump: {said}"));
        }
        let now = fs::read(&ppm).map_err(|e| format!("{}: {e}", ppm.display()))?;
        let same = self.last.0 == now;
        self.last = (now, if same { self.last.1 + 1 } else { 0 });
        let Ok(png) = picture::png(&self.last.0) else { return Ok(()) };
        if self.last.1 < ALIKE {
            return Ok(());
        }
        let path = self.folder.join("gpu.png");
        let seen = self.folder.join("share/out/seen");
        fs::write(&path, png).and_then(|()| fs::write(&seen, "")).map_err(|e| format!("{}: {e}", path.display()))?;
        self.line(&format!("\nThe VM draws on the passed-through GPU: {}", path.display()));
        self.picture = Some(path);
        Ok(())
    }
}
