//! grub.cfg: what GRUB reads when it boots; and grubenv, its small store of variables.
//!
//! Goes in: a text. Comes out: the menu entries with the kernel and its words, whether BLS entries are read, and
//! whether it only leads to another configuration file. No script is run: every entry counts, whatever `if` it
//! stands in.
//!
//! Rules: GRUB manual, "menuentry", "submenu", "linux", "configfile"; `blscfg` is the command of the Fedora
//! family's GRUB (rhboot/grub2 `grub-core/commands/blscfg.c`).

use super::cmdline;
use super::shell::{Dialect, Token, Word, tokens};
use std::collections::BTreeMap;
use std::ops::Range;

/// One Linux entry of the menu.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The titles of the submenus around it, then its own.
    pub titles: Vec<String>,
    /// What stands behind `--id` or `$menuentry_id_option`.
    pub id: Option<String>,
    /// The kernel image as named, e.g. `/boot/vmlinuz-6.8.12-4-pve`.
    pub image: String,
    /// The kernel's words; a variable that grub.cfg does not set stays as `$name`.
    pub words: Vec<String>,
    /// The initrd images as named.
    pub initrds: Vec<String>,
    /// The line of the `linux` command, counted from 1.
    pub line: u32,
    /// The bytes of the kernel's words.
    pub range: Range<usize>,
    /// True if it stands in the part of `40_custom`, where a person writes entries (grub-mkconfig's comments name the script of each part).
    pub by_hand: bool,
}

impl Entry {
    /// The kernel release, from the image's name.
    pub fn release(&self) -> Option<String> {
        release_of(&self.image)
    }
}

/// The release in the name of a kernel image `vmlinuz-R` or `vmlinux-R`, if it is one: it begins with a digit.
pub fn release_of(image: &str) -> Option<String> {
    let name = image.rsplit(['/', '\\']).next()?;
    let release = name.strip_prefix("vmlinuz-").or_else(|| name.strip_prefix("vmlinux-"))?;
    release.starts_with(|c: char| c.is_ascii_digit()).then(|| release.to_owned())
}

/// A grub.cfg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrubCfg {
    /// Its Linux entries, in order.
    pub entries: Vec<Entry>,
    /// True if it reads BLS entries.
    pub blscfg: bool,
    /// The configuration files that it goes on to.
    pub configfiles: Vec<String>,
    /// The variables that it sets to a fixed text, the last assignment of each.
    pub variables: BTreeMap<String, String>,
}

impl GrubCfg {
    /// True if it has no menu of its own and leads to another file: the small file on the ESP of a distribution's
    /// GRUB.
    pub fn is_stub(&self) -> bool {
        self.entries.is_empty() && !self.blscfg && !self.configfiles.is_empty()
    }
}

/// Commands that load a Linux kernel, and those that load its initrd.
const LINUX: &[&str] = &["linux", "linuxefi", "linux16"];
const INITRD: &[&str] = &["initrd", "initrdefi", "initrd16"];
/// GRUB under Xen: the hypervisor by `multiboot`, the kernel by `module`.
const MODULE: &[&str] = &["module", "module2"];

/// Parses a grub.cfg.
pub fn parse(text: &str) -> GrubCfg {
    let mut config = GrubCfg::default();
    // (title, depth of braces within which it holds, id)
    let mut titles: Vec<(String, usize, Option<String>)> = Vec::new();
    let mut depth = 0usize;
    let mut words: Vec<Word> = Vec::new();
    let all = tokens(text, Dialect::Grub);
    let end = Token::Op("\n", text.len()..text.len());
    for token in all.iter().chain([&end]) {
        match token {
            Token::Word(word) if word.is_bare("{") => {
                depth += 1;
                if let Some((title, id)) = menu(&words) {
                    titles.push((title, depth, id));
                }
                words.clear();
            }
            Token::Word(word) if word.is_bare("}") => {
                command(&words, &titles, &mut config);
                words.clear();
                titles.retain(|(_, level, _)| *level < depth);
                depth = depth.saturating_sub(1);
            }
            Token::Word(word) => words.push(word.clone()),
            Token::Op(..) => {
                command(&words, &titles, &mut config);
                words.clear();
            }
        }
    }
    let parts: Vec<(usize, bool)> = super::lines::lines(text)
        .filter(|line| line.text.starts_with("### BEGIN ") || line.text.starts_with("### END "))
        .map(|line| (line.start, line.text.starts_with("### BEGIN ") && line.text.trim_end().ends_with("_custom ###")))
        .collect();
    for entry in &mut config.entries {
        let part = parts.get(..parts.partition_point(|(start, _)| *start < entry.range.start)).and_then(<[_]>::last);
        entry.by_hand = part.is_some_and(|(_, by_hand)| *by_hand);
    }
    config
}

fn plain(word: &Word) -> String {
    word.expand(|_| None)
}

/// The title and id of a `menuentry` or `submenu` command.
fn menu(words: &[Word]) -> Option<(String, Option<String>)> {
    let (first, rest) = words.split_first()?;
    if !first.is_bare("menuentry") && !first.is_bare("submenu") {
        return None;
    }
    let title = plain(rest.first()?);
    let option = rest.iter().position(|word| matches!(plain(word).as_str(), "--id" | "$menuentry_id_option"));
    let id = option.and_then(|at| rest.get(at + 1)).map(plain);
    Some((title, id))
}

fn command(words: &[Word], titles: &[(String, usize, Option<String>)], config: &mut GrubCfg) {
    let skip = usize::from(words.first().is_some_and(|word| word.is_bare("then") || word.is_bare("else")));
    let Some((name, rest)) = words.get(skip..).and_then(<[Word]>::split_first) else { return };
    let is = |names: &[&str]| names.iter().any(|wanted| name.is_bare(wanted));
    let known = |variable: &str, config: &GrubCfg| config.variables.get(variable).cloned();
    if is(LINUX) || is(MODULE) {
        let Some((image, arguments)) = rest.split_first() else { return };
        let image_name = plain(image);
        if is(MODULE) && release_of(&image_name).is_none() {
            if let Some(entry) = config.entries.last_mut().filter(|entry| entry.titles.len() == titles.len()) {
                entry.initrds.push(image_name);
            }
            return;
        }
        let range = match (arguments.first(), arguments.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => image.range.end..image.range.end,
        };
        let line: Vec<String> = arguments.iter().map(|word| word.expand(|v| known(v, config))).collect();
        config.entries.push(Entry {
            titles: titles.iter().map(|(title, ..)| title.clone()).collect(),
            id: titles.last().and_then(|(_, _, id)| id.clone()),
            image: image_name,
            words: cmdline::words(&line.join(" ")),
            initrds: Vec::new(),
            line: name.line,
            range,
            by_hand: false,
        });
    } else if is(INITRD) {
        if let Some(entry) = config.entries.last_mut() {
            entry.initrds.extend(rest.iter().map(plain));
        }
    } else if is(&["blscfg"]) {
        config.blscfg = true;
    } else if is(&["configfile", "source"]) {
        // openSUSE's shim-install writes `source "${prefix}/grub.cfg"` into the stub.
        config.configfiles.extend(rest.first().map(plain));
    } else if is(&["set"])
        && let Some((variable, value)) = rest.first().map(plain).as_deref().and_then(|w| w.split_once('='))
    {
        config.variables.insert(variable.to_owned(), value.to_owned());
    }
}

/// Parses grubenv: `name=value` lines after a first comment, padded with `#` to 1024 bytes; a backslash quotes a
/// backslash or a line end (GRUB `grub-core/lib/envblk.c`).
pub fn parse_env(text: &str) -> Vec<(u32, String, String)> {
    super::lines::lines(text)
        .filter(|line| !line.text.starts_with('#'))
        .filter_map(|line| {
            let (name, value) = line.text.split_once('=')?;
            Some((line.number, name.to_owned(), value.replace("\\\\", "\\")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEBIAN: &str = r#"#
# DO NOT EDIT THIS FILE
### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
function recordfail {
  set recordfail=1
}
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	search --no-floppy --fs-uuid --set=root 1
	echo	'Loading Linux 6.12.41+deb13-amd64 ...'
	linux	/boot/vmlinuz-6.12.41+deb13-amd64 root=UUID=1 ro  quiet $vt_handoff
	echo	'Loading initial ramdisk ...'
	initrd	/boot/early.img /boot/initrd.img-6.12.41+deb13-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.12.41+deb13-amd64 (recovery mode)' --id 'rec' {
		linux	/boot/vmlinuz-6.12.41+deb13-amd64 root=UUID=1 ro single
		initrd	/boot/initrd.img-6.12.41+deb13-amd64
	}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
"#;

    #[test]
    fn debian() {
        let config = parse(DEBIAN);
        assert_eq!(config.entries.len(), 2);
        let first = &config.entries[0];
        assert_eq!(first.titles, ["Debian GNU/Linux"]);
        assert_eq!(first.id.as_deref(), Some("gnulinux-simple-1"));
        assert_eq!(first.words, ["root=UUID=1", "ro", "quiet", "$vt_handoff"]);
        assert_eq!(&DEBIAN[first.range.clone()], "root=UUID=1 ro  quiet $vt_handoff");
        assert_eq!((first.line, first.release().as_deref()), (18, Some("6.12.41+deb13-amd64")));
        assert_eq!(first.initrds.len(), 2);
        let second = &config.entries[1];
        assert_eq!(second.titles.len(), 2);
        assert_eq!((second.id.as_deref(), second.words.last().map(String::as_str)), (Some("rec"), Some("single")));
        assert!(!config.blscfg && !config.is_stub());
    }

    #[test]
    fn fedora_and_its_stub() {
        let config =
            parse("set default_kernelopts=\"root=UUID=1 ro \"\ninsmod blscfg\nblscfg\nif [ x ]; then\nset a=b\nfi");
        assert!(config.blscfg && config.entries.is_empty() && !config.is_stub());
        assert_eq!(config.variables["default_kernelopts"], "root=UUID=1 ro ");
        let stub = parse(
            "search --no-floppy --fs-uuid --set=dev 1\nset prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n",
        );
        assert!(stub.is_stub());
        assert_eq!(stub.configfiles, ["$prefix/grub.cfg"]);
        assert!(
            parse("search --fs-uuid --set=root 1\nset prefix=(${root})/boot/grub2\nsource \"${prefix}/grub.cfg\"\n")
                .is_stub()
        );
    }

    #[test]
    fn xen_and_variables() {
        let config = parse(
            "set opts='a b'\nmenuentry \"Xen\" {\nmultiboot2 /xen.gz placeholder dom0_mem=4G\n\
             module2 /vmlinuz-6.1.0-31-amd64 placeholder root=UUID=1 $opts\nmodule2 --nounzip /initrd.img\n}\n\
             menuentry x { linux /vmlinuz-linux quiet }",
        );
        assert_eq!(config.entries[0].words, ["placeholder", "root=UUID=1", "a", "b"]);
        assert_eq!(config.entries[1].words, ["quiet"]);
        assert_eq!(config.entries[1].release(), None);
    }

    #[test]
    fn env() {
        let text =
            "# GRUB Environment Block\nsaved_entry=abc-5.14.0\nkernelopts=root=/dev/mapper/rl-root ro rhgb\n####";
        let found = parse_env(text);
        assert_eq!(found[1], (3, "kernelopts".to_owned(), "root=/dev/mapper/rl-root ro rhgb".to_owned()));
    }

    proptest! {
        #[test]
        fn never_panics(text in "(menuentry|submenu|linux|initrd|set|module2|[a'\"${}();= \n]){0,40}") {
            for entry in parse(&text).entries {
                prop_assert!(text.get(entry.range).is_some());
            }
            parse_env(&text);
        }
    }
}
