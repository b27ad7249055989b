//! The host's tools, as scripts in Rust: each of their writes passes the gate, too.

use super::gates::Shared;
use super::world::{KERNELS, entry, grub_cfg, image};
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use vfioneer::host::Host;
use vfioneer::host::change::{Chroot, Command, Done, Gate, Op, Runner};

/// What a tool does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails after half of its work.
    Fails,
    /// It says that all is well, and its product is not.
    Lies,
    /// It is killed at its limit.
    Hangs,
    /// It is not installed.
    Missing,
}

/// The faults of tools: name, on which run (counted from 0), fault.
pub type Faults = Rc<RefCell<Vec<(&'static str, usize, Fault)>>>;

pub struct Tools {
    pub root: PathBuf,
    pub gate: Shared,
    pub faults: Faults,
    pub runs: RefCell<Vec<String>>,
}

const NAMES: &[&str] = &["mkimage", "mkgrub", "refresh", "kargs", "afterwards", "modprobe"];

impl Tools {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn pass(&self, op: &Op<'_>) -> io::Result<()> {
        self.gate.pass(op).map_err(|stop| stop.error)
    }

    /// Fills a file in place, as `cat > file` and `cp` do: for a while it is empty, then half.
    fn fill(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.at(path);
        std::fs::create_dir_all(file.parent().unwrap())?;
        self.pass(&Op::Write(path, b""))?;
        std::fs::write(&file, b"")?;
        let half = bytes.len() / 2;
        self.pass(&Op::Write(path, &bytes[..half]))?;
        std::fs::write(&file, &bytes[..half])?;
        self.pass(&Op::Write(path, &bytes[half..]))?;
        std::fs::write(&file, bytes)
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// What the driver of a physical function does.
    fn virtual_functions(&self, dir: &str, value: &str) -> io::Result<()> {
        let number = |text: &str| text.trim().parse::<u32>().map_err(io::Error::other);
        let (was, now) = (number(&self.text(&format!("{dir}/sriov_numvfs")))?, number(value)?);
        if was > 0 && now > 0 {
            return Err(io::Error::other("Device or resource busy"));
        }
        for part in 0..was.max(now) {
            let name = format!("0000:02:10.{part}");
            let (link, own) =
                (self.at(&format!("{dir}/virtfn{part}")), self.at(&format!("/sys/bus/pci/devices/{name}")));
            if now == 0 {
                std::fs::remove_file(link)?;
                std::fs::remove_dir_all(own)?;
            } else {
                std::fs::create_dir(&own)?;
                std::fs::write(own.join("driver_override"), "(null)\n")?;
                std::os::unix::fs::symlink(format!("../{name}"), link)?;
            }
        }
        std::fs::write(self.at(&format!("{dir}/sriov_numvfs")), format!("{now}\n"))
    }

    fn work(&self, argv: &[&str], fault: Option<Fault>) -> io::Result<()> {
        match argv {
            ["mkimage", "-o", out, release] => {
                let claims = std::fs::read_to_string(self.at("/etc/vfioneer/claims")).ok();
                let whole = image(release, claims.as_deref());
                let bytes = if fault == Some(Fault::Lies) { image(release, None) } else { whole };
                self.fill(out, &bytes)
            }
            ["mkgrub", "-o", out] => {
                let words = self.text("/etc/default/grub");
                let words = words.trim().trim_start_matches("WORDS=").trim_matches('"');
                let words = if fault == Some(Fault::Lies) { "quiet" } else { words };
                self.fill(&format!("{out}.new"), grub_cfg(words).as_bytes())?;
                self.fill(out, grub_cfg(words).as_bytes())?;
                self.pass(&Op::Remove(&format!("{out}.new")))?;
                std::fs::remove_file(self.at(&format!("{out}.new")))
            }
            ["refresh"] => {
                // Like kernelstub, it writes its own configuration again, which must be whole.
                let config = self.text("/etc/kernel/cmdline");
                let Some(words) =
                    config.lines().next().filter(|words| words.starts_with("root=") && config.ends_with('\n'))
                else {
                    return Err(io::Error::other("configuration cannot be read"));
                };
                self.fill("/etc/kernel/cmdline", format!("{words}\n# written by refresh\n").as_bytes())?;
                let mut releases: Vec<String> = std::fs::read_dir(self.at("/boot"))?
                    .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
                    .collect();
                releases.sort();
                for release in &releases {
                    for (from, name) in [("/boot/vmlinuz-", "vmlinuz"), ("/boot/initrd.img-", "initrd")] {
                        let bytes = std::fs::read(self.at(&format!("{from}{release}")))?;
                        self.fill(&format!("/efi/EFI/x/{release}/{name}"), &bytes)?;
                    }
                    let text = entry("x", release, words);
                    self.fill(&format!("/efi/loader/entries/x-{release}.conf"), text.as_bytes())?;
                }
                Ok(())
            }
            // A well-behaved tool that is not fenced: a new file each, renamed into place.
            ["kargs", change, word] => {
                for release in KERNELS {
                    let path = format!("/boot/loader/entries/{release}.conf");
                    let text = self.text(&path);
                    let text = match *change {
                        "--add" => format!("{} {word}\n", text.trim_end()),
                        // Not quite what was there before.
                        _ => text.replace(&format!(" {word}"), " "),
                    };
                    self.fill(&format!("{path}.tmp"), text.as_bytes())?;
                    // Even a careful tool leaves the directory to others.
                    self.pass(&Op::Sync(&format!("{path}.tmp")))?;
                    self.pass(&Op::Rename(&format!("{path}.tmp"), &path))?;
                    std::fs::rename(self.at(&format!("{path}.tmp")), self.at(&path))?;
                }
                Ok(())
            }
            // What is done with an image that was made.
            ["afterwards", _, image] => std::fs::read(self.at(image)).map(drop),
            ["modprobe", "--", driver] => {
                let dir = self.at(&format!("/sys/bus/pci/drivers/{driver}"));
                self.pass(&Op::Run(&[]))?;
                std::fs::create_dir_all(dir)
            }
            other => panic!("no such tool: {other:?}"),
        }
    }
}

impl Runner for Tools {
    fn has_program(&self, _: &dyn Host, program: &str) -> bool {
        NAMES.contains(&program)
            && !self.faults.borrow().iter().any(|fault| fault.0 == program && fault.2 == Fault::Missing)
    }

    fn run(&self, _: Chroot<'_>, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done> {
        let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
        let number = self.runs.borrow().iter().filter(|name| *name == argv[0]).count();
        self.runs.borrow_mut().push(argv[0].to_owned());
        let faults = self.faults.borrow();
        let fault = faults.iter().find(|fault| fault.0 == argv[0] && fault.1 == number).map(|fault| fault.2);
        progress(&format!("{} works", argv[0]));
        match self.work(&argv, fault) {
            Err(error) if error.to_string() == super::gates::KILLED => return Err(error),
            Err(error) => {
                let output = format!("{}: {error}\n", argv[0]).into_bytes();
                return Ok(Done { status: Some(1), output, ..Done::default() });
            }
            Ok(()) => {}
        }
        let output = format!("{} works\n", argv[0]).into_bytes();
        Ok(match fault {
            Some(Fault::Fails) => {
                Done { status: Some(7), output: b"first\nthe tool's own words\n".to_vec(), ..Done::default() }
            }
            Some(Fault::Hangs) => Done { late: true, output, ..Done::default() },
            _ => Done { status: Some(0), output, ..Done::default() },
        })
    }

    fn write_attribute(&self, _: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        if path.ends_with("/driver_override") {
            return std::fs::write(self.at(path), format!("{}\n", if value.is_empty() { "(null)" } else { value }));
        }
        if path.ends_with("/sriov_drivers_autoprobe") {
            return std::fs::write(self.at(path), format!("{value}\n"));
        }
        if let Some(dir) = path.strip_suffix("/sriov_numvfs") {
            return self.virtual_functions(dir, value);
        }
        if let Some(dir) = path.strip_suffix("/driver/unbind") {
            return std::fs::remove_file(self.at(&format!("{dir}/driver")));
        }
        let driver = path.strip_suffix("/bind").unwrap().rsplit('/').next().unwrap();
        let target = format!("../../drivers/{driver}");
        std::os::unix::fs::symlink(target, self.at(&format!("/sys/bus/pci/devices/{value}/driver")))
    }
}
