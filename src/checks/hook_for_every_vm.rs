//! A hook of libvirt's that does something with devices whichever VM starts or stops.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::hypervisor::Hook;
use crate::parse::shell::{Content, Dialect, Token, Word, tokens};
use std::collections::BTreeSet;

pub(super) const CHECK: Check = Check { ids: &["hook-for-every-vm"], run };

/// What a word has that is about devices.
const DEVICES: &[&str] =
    &["/sys/bus/pci", "/sys/class/vtconsole", "nodedev-detach", "nodedev-reattach", "driverctl", "vfio-pci"];
/// Commands that ask something.
const TESTS: &[&str] = &["[", "[[", "test", "case", "expr"];
/// Commands that read the VM's XML, or can: then the script may know what it does.
const READERS: &[&str] =
    &["xmllint", "xmlstarlet", "virt-xml", "python3", "python", "perl", "read", "cat", "sed", "grep", "awk"];

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    ctx.snap.hypervisor.hooks.iter().filter(|hook| hook.mode & 0o111 != 0).filter_map(judge).collect()
}

fn judge(hook: &Hook) -> Option<Finding> {
    let file = hook.file.known()?;
    let shell = file.text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("sh"));
    // A program of another language is not read.
    if !shell {
        return None;
    }
    let tokens = tokens(&file.text, Dialect::Sh);
    let words = tokens.iter().filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None });
    let acts = words.filter(|word| {
        let text = word.expand(|_| None);
        !text.contains('=') && DEVICES.iter().any(|part| text.contains(part))
    });
    let lines: BTreeSet<u32> = acts.map(|word| word.line).collect();
    if lines.is_empty() || knows_the_vm(&file.text, &tokens) {
        return None;
    }
    let mut finding = Finding::new("hook-for-every-vm", Severity::Warning, Subject::File(file.path.clone()))
        .value("path", file.path.clone())
        .variant(if file.text.contains("stopped") && !file.text.contains("release") { "stopped" } else { "" });
    for line in lines.into_iter().take(4) {
        let text = file.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default().trim();
        finding.evidence.push(Evidence::at(file.path.clone(), line, text));
    }
    Some(finding)
}

/// Does anything depend on the first argument, or on the XML on standard input?
fn knows_the_vm(script: &str, tokens: &[Token]) -> bool {
    let mut names: BTreeSet<String> = ["1", "@", "*"].map(str::to_owned).into();
    let mut first: Option<String> = None;
    let mut asks = false;
    for token in tokens {
        let Token::Word(word) = token else {
            (first, asks) = (None, false);
            continue;
        };
        let text = word.expand(|_| None);
        let of_vm = variables(script, word).any(|name| names.contains(name));
        if let (Some((name, _)), true, None) = (text.split_once('='), of_vm, &first) {
            names.insert(name.to_owned());
            continue;
        }
        if first.is_none() && !["if", "then", "elif", "else", "do", "while", "until", "!", "{"].contains(&text.as_str())
        {
            asks = TESTS.contains(&text.as_str());
            if READERS.contains(&text.rsplit('/').next().unwrap_or_default()) {
                return true;
            }
            first = Some(text.clone());
        }
        // A test, a path that is made of it, or another script that gets it.
        if of_vm
            && (asks
                || text.contains('/')
                || first.as_deref().is_some_and(|program| program.contains('/') || program == "exec"))
        {
            return true;
        }
    }
    false
}

/// The names in a word's `$name`, `$1` and `${1}`.
fn variables<'a>(script: &'a str, word: &'a Word) -> impl Iterator<Item = &'a str> {
    word.pieces.iter().filter_map(|piece| match &piece.content {
        Content::Variable(name) => Some(name.as_str()),
        Content::Opaque => {
            let text = script.get(piece.range.clone())?.trim_start_matches(['$', '{', '"']);
            text.get(..1).filter(|name| name.starts_with(['1', '@', '*']))
        }
        Content::Literal(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::host::Fact;

    fn hook(text: &str) -> Hook {
        let path = "/etc/libvirt/hooks/qemu";
        Hook { path: path.into(), mode: 0o755, file: Fact::Known(file(path, text)) }
    }

    fn said(text: &str) -> Vec<String> {
        let mut snap = healthy();
        snap.hypervisor.hooks.push(hook(text));
        shown(&only(&check(&snap), "hook-for-every-vm"))
    }

    #[test]
    fn a_script_that_does_not_look_who_it_is() {
        // The way of a guide: the name is written down, and asked for by nobody.
        let guide = "#!/bin/bash\nVM_NAME=\"$1\"\nACTION=\"$2\"\nif [[ \"$ACTION\" == \"stopped\" && \"$3\" == \"end\" ]]; then\n\
            echo \"VM $VM_NAME stopped\" >> $LOGFILE\necho 1 > /sys/bus/pci/devices/$GPU/remove\nsleep 2\necho 1 > /sys/bus/pci/rescan\nfi\n";
        assert_eq!(said(guide), ["warning hook-for-every-vm/stopped /etc/libvirt/hooks/qemu"]);
        let plain = "#!/bin/sh\n[ \"$2\" = prepare ] && virsh nodedev-detach pci_0000_01_00_0\n";
        assert_eq!(said(plain), ["warning hook-for-every-vm /etc/libvirt/hooks/qemu"]);
    }

    #[test]
    fn scripts_that_do() {
        let act = "echo 1 > /sys/bus/pci/rescan\n";
        for text in [
            format!("#!/bin/sh\nif [ \"$1\" = win11 ]; then\n{act}fi\n"),
            format!("#!/bin/bash\nVM=\"$1\"\ncase $VM in win11) {act} ;; esac\n"),
            format!("#!/bin/bash\nif [[ $1 == \"win11\" ]]; then\n{act}fi\n"),
            format!("#!/bin/sh\nxml=$(cat)\n{act}").replace("$(cat)", "x; cat >/tmp/x"),
            // The dispatcher that many scripts come with: a directory for each VM.
            "#!/bin/bash\nGUEST_NAME=\"$1\"\nHOOK_NAME=\"$2\"\nBASEDIR=\"$(dirname $0)\"\n\
             HOOKPATH=\"$BASEDIR/qemu.d/$GUEST_NAME/$HOOK_NAME/$3\"\n# /sys/bus/pci\n"
                .to_owned(),
            "#!/usr/bin/python3\nopen('/sys/bus/pci/rescan')\n".to_owned(),
            "#!/bin/sh\necho \"$1 $2\" >> /var/log/hooks\n".to_owned(),
        ] {
            assert!(said(&text).is_empty(), "{text}");
        }
        let mut snap = healthy();
        snap.hypervisor.hooks.push(Hook { mode: 0o644, ..hook(&format!("#!/bin/sh\n{act}")) });
        assert!(check(&snap).is_empty(), "libvirt does not run it");
    }
}
