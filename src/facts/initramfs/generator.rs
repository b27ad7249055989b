//! Which program builds the initramfs images.

use super::Generator;
use crate::facts::Evidence;
use crate::host::{Fact, Host, Why};
use crate::parse::shell_vars;

/// Finds the generator, and what says so. What decides, in this order: an image-based system; what kernel-install was
/// told; whose `update-initramfs` is installed (dracut brings one, too); which programs there are.
pub(in crate::facts) fn find(host: &dyn Host) -> (Fact<Generator>, Vec<Evidence>) {
    let mut unknown: Option<Why> = None;
    let mut there = |path: &str| match host.exists(path) {
        Fact::Known(there) => there,
        Fact::Absent => false,
        Fact::Unknown(why) => {
            unknown.get_or_insert(why);
            false
        }
    };
    let found = |generator, path: &str, text: &str| (Fact::Known(generator), vec![Evidence::new(path, text)]);

    for path in ["/run/ostree-booted", "/ostree/repo"] {
        if there(path) {
            return found(Generator::RpmOstree, path, "present");
        }
    }
    if there("/etc/NIXOS") {
        return found(Generator::NixOs, "/etc/NIXOS", "present");
    }
    if let Some((generator, evidence)) = kernel_install(host) {
        return (Fact::Known(generator), vec![evidence]);
    }
    let wrapper = "/usr/sbin/update-initramfs";
    if let Fact::Known(text) = host.text(wrapper) {
        for (program, generator) in [("dracut", Generator::Dracut), ("mkinitramfs", Generator::InitramfsTools)] {
            if let Some((line, number)) = text.lines().zip(1u32..).find(|(line, _)| calls(line, program)) {
                return (Fact::Known(generator), vec![Evidence::at(wrapper, number, line.trim())]);
            }
        }
    }
    let programs = [
        ("/usr/sbin/mkinitramfs", Generator::InitramfsTools),
        ("/usr/bin/mkinitcpio", Generator::Mkinitcpio),
        ("/usr/bin/dracut", Generator::Dracut),
        ("/usr/bin/booster", Generator::Booster),
    ];
    let installed: Vec<_> = programs.iter().filter(|(path, _)| there(path)).collect();
    let evidence = installed.iter().map(|(path, _)| Evidence::new(*path, "present")).collect();
    match installed.as_slice() {
        [(_, generator)] => (Fact::Known(*generator), evidence),
        [] => (unknown.map_or(Fact::Absent, Fact::Unknown), evidence),
        // mkinitcpio installs a preset per kernel that it builds for.
        [..] if host.entries("/etc/mkinitcpio.d").known().is_some_and(|names| has_preset(names)) => {
            (Fact::Known(Generator::Mkinitcpio), vec![Evidence::new("/etc/mkinitcpio.d", "holds presets")])
        }
        [(_, first), ..] if installed.iter().all(|(_, generator)| generator == first) => {
            (Fact::Known(*first), evidence)
        }
        [..] => (Fact::Unknown(Why::Malformed("more than one generator is installed".into())), evidence),
    }
}

fn has_preset(names: &[String]) -> bool {
    names.iter().any(|name| name.ends_with(".preset"))
}

/// True if a shell line names the program outside of a comment.
fn calls(line: &str, program: &str) -> bool {
    let code = line.trim_start();
    !code.starts_with('#') && code.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == program)
}

/// `initrd_generator=` of kernel-install (systemd `src/kernel-install/kernel-install.c`).
fn kernel_install(host: &dyn Host) -> Option<(Generator, Evidence)> {
    let path = "/etc/kernel/install.conf";
    let text = host.text(path).into_known()?;
    let script = shell_vars::parse(&text);
    let assignment = script.assignments.iter().rev().find(|assignment| assignment.name == "initrd_generator")?;
    let generator = match assignment.own_text().as_str() {
        "dracut" => Generator::Dracut,
        "mkinitcpio" => Generator::Mkinitcpio,
        "initramfs-tools" => Generator::InitramfsTools,
        "booster" => Generator::Booster,
        _ => return None,
    };
    Some((generator, Evidence::at(path, assignment.line, text.get(assignment.range.clone())?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Recorded;

    #[test]
    fn generators() {
        let tools = "#!/bin/sh\n# Like dracut's\nset -e\nmkinitramfs -o \"$initramfs.new\" \"$version\"\n";
        let wrapper = "#!/bin/sh\n# wrapper for initramfs-tools users\nexec dracut -f \"$@\"\n";
        type Case<'a> = (&'a [(&'a str, &'a str)], Fact<Generator>);
        let cases: &[Case<'_>] = &[
            (&[], Fact::Absent),
            (&[("/usr/sbin/update-initramfs", tools), ("/usr/bin/dracut", "")], Fact::Known(Generator::InitramfsTools)),
            (
                &[("/usr/sbin/update-initramfs", wrapper), ("/etc/initramfs-tools/modules", "")],
                Fact::Known(Generator::Dracut),
            ),
            (&[("/usr/bin/dracut", "")], Fact::Known(Generator::Dracut)),
            (&[("/usr/bin/mkinitcpio", "")], Fact::Known(Generator::Mkinitcpio)),
            (
                &[("/usr/bin/mkinitcpio", ""), ("/usr/bin/dracut", ""), ("/etc/mkinitcpio.d/linux.preset", "")],
                Fact::Known(Generator::Mkinitcpio),
            ),
            (
                &[("/usr/bin/mkinitcpio", ""), ("/usr/bin/dracut", "")],
                Fact::Unknown(Why::Malformed("more than one generator is installed".into())),
            ),
            (
                &[("/usr/bin/mkinitcpio", ""), ("/etc/kernel/install.conf", "layout=uki\ninitrd_generator=dracut\n")],
                Fact::Known(Generator::Dracut),
            ),
            (&[("/run/ostree-booted", ""), ("/usr/bin/dracut", "")], Fact::Known(Generator::RpmOstree)),
            (&[("/etc/NIXOS", "")], Fact::Known(Generator::NixOs)),
        ];
        for (files, expected) in cases {
            let mut builder = Recorded::builder();
            for (path, text) in *files {
                builder.add_file(path, text);
            }
            let (found, evidence) = find(&builder.build());
            assert_eq!(found, *expected, "{files:?}");
            assert_eq!(evidence.is_empty(), found.is_absent());
        }
    }
}
