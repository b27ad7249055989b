//! Presets, and the lists that are edited.

use super::*;
use crate::adapters::claim::Ids;
use crate::facts::{Needs, collect};
use crate::host::{Builder, Recorded};
use crate::parse::claims::parse;
use proptest::prelude::*;

const PRESET: &str = "# mkinitcpio preset file for the 'linux' package\n\
    #ALL_config=\"/etc/mkinitcpio.conf\"\nALL_kver=\"/boot/vmlinuz-linux\"\nPRESETS=('default' 'fallback')\n\
    default_image=\"/boot/initramfs-linux.img\"\nfallback_image=\"/boot/initramfs-linux-fallback.img\"\n\
    fallback_options=\"-S autodetect\"\n";
const CONF: &str = "MODULES=()\nHOOKS=(base udev autodetect modconf kms block filesystems fsck) # order matters\n";

fn arch(preset: &str, conf: &str) -> Builder {
    let mut builder = Recorded::builder();
    builder
        .add_file("/usr/bin/mkinitcpio", "")
        .add_file("/etc/mkinitcpio.d/linux.preset", preset)
        .add_file("/etc/mkinitcpio.conf", conf)
        .add_file("/usr/lib/modules/6.12.4-arch1-1/pkgbase", "linux\n")
        .add_file("/usr/lib/modules/6.12.4-arch1-1/vmlinuz", "")
        .add_file("/boot/vmlinuz-linux", "");
    builder
}

fn wanted(ids: bool) -> Wanted {
    if ids {
        Wanted::Ids(Ids { ids: vec!["10de:2684".into()], natives: Vec::new() })
    } else {
        Wanted::Identity(parse("0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no").claims)
    }
}

fn done(mut builder: Builder, ids: bool) -> Work {
    crate::adapters::initramfs::work(&collect(&builder.build(), Needs::ALL), &wanted(ids))
}

fn text_of<'w>(work: &'w Work, path: &str) -> Option<&'w str> {
    work.files.iter().find_map(|step| match &step.action {
        Action::WriteFile { path: written, after, .. } if written == path => after.text(),
        _ => None,
    })
}

fn commands(work: &Work) -> Vec<String> {
    let argv = |step: &Step| match &step.action {
        Action::Generate { argv, output, product: Product::Image { release, .. } } => {
            format!("{} > {output} ({release})", argv.join(" "))
        }
        other => panic!("{other:?}"),
    };
    work.commands.iter().map(argv).collect()
}

#[test]
fn a_preset_of_two_images() {
    let work = done(arch(PRESET, CONF), false);
    let expected = [
        "mkinitcpio -k /boot/vmlinuz-linux -g {out} > /boot/initramfs-linux.img (6.12.4-arch1-1)",
        "mkinitcpio -k /boot/vmlinuz-linux -g {out} -S autodetect > /boot/initramfs-linux-fallback.img (6.12.4-arch1-1)",
    ];
    assert_eq!(commands(&work), expected);
    assert_eq!(text_of(&work, "/etc/mkinitcpio.conf"), Some(CONF.replace("(base", "(vfioneer base").as_str()));
    assert!(text_of(&work, INSTALL).is_some() && text_of(&work, HOOK).is_some() && work.manual.is_empty());
}

#[test]
fn named_configurations_and_unified_images() {
    let preset = "ALL_config=\"/etc/mkinitcpio-own.conf\"\nALL_kver=\"/boot/vmlinuz-linux\"\nPRESETS=('default')\n\
        default_uki=\"/boot/EFI/Linux/arch-linux.efi\"\ndefault_cmdline=\"/etc/kernel/cmdline\"\n\
        default_options=\"--splash /usr/share/systemd/bootctl/splash-arch.bmp\"\n";
    let snap = collect(&arch(preset, CONF).build(), Needs::ALL);
    let builds = builds(&snap);
    assert_eq!(
        builds[0].argv.join(" "),
        "mkinitcpio -k /boot/vmlinuz-linux -c /etc/mkinitcpio-own.conf --cmdline /etc/kernel/cmdline -U {out} \
         --splash /usr/share/systemd/bootctl/splash-arch.bmp"
    );
    assert!(builds.len() == 1 && builds[0].unified && builds[0].release == "6.12.4-arch1-1");
    // Its configuration is read by nobody here: the user is told what to add.
    let found = crate::adapters::initramfs::work(&snap, &wanted(false));
    assert!(found.commands.is_empty() && found.manual.len() == 1, "{found:?}");
    let contents = Contents::of(&snap, &wanted(false));
    let steps = unified(&snap, &contents, &["intel_iommu=on".to_owned()]);
    let Action::Generate { product: Product::Unified { words, files, .. }, output, .. } = &steps[0].action else {
        panic!("{steps:?}")
    };
    assert_eq!((words.len(), files.len(), output.as_str()), (1, 2, "/boot/EFI/Linux/arch-linux.efi"));
}

#[test]
fn the_file_that_sets_the_list_last_is_edited() {
    let mut builder = arch(PRESET, CONF);
    builder.add_file("/etc/mkinitcpio.conf.d/a.conf", "HOOKS=(base systemd block)\n");
    builder.add_file("/etc/mkinitcpio.conf.d/b.conf", "HOOKS+=(plymouth)\n");
    let work = done(builder, false);
    assert_eq!(text_of(&work, "/etc/mkinitcpio.conf.d/a.conf"), Some("HOOKS=(vfioneer base systemd block)\n"));
    assert!(text_of(&work, "/etc/mkinitcpio.conf").is_none());
    let conditional = "if true; then HOOKS=(base); fi\n";
    assert_eq!(done(arch(PRESET, conditional), false).manual.len(), 1);
    assert_eq!(done(arch("PRESETS=()\n", CONF), false).manual.len(), 1);
}

#[test]
fn by_ids() {
    let work = done(arch(PRESET, CONF), true);
    let edited = CONF.replace("MODULES=()", "MODULES=(vfio_pci vfio vfio_iommu_type1)");
    assert_eq!(text_of(&work, "/etc/mkinitcpio.conf"), Some(edited.as_str()));
    assert!(
        done(arch(PRESET, &edited), true).files.iter().all(|step| !format!("{step:?}").contains("mkinitcpio.conf"))
    );
}

fn edit(text: &str, words: &[&str]) -> Edit {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let script = shell_vars::parse(text);
    with_first(text, script.assignments.last().expect("an assignment"), &words)
}

#[test]
fn lists_in_every_form() {
    let text = |text: &str| Edit::Text(text.to_owned());
    assert_eq!(edit("HOOKS=(base udev)\n", &["vfioneer"]), text("HOOKS=(vfioneer base udev)\n"));
    assert_eq!(edit("HOOKS=\"base udev\"", &["vfioneer"]), text("HOOKS=\"vfioneer base udev\""));
    assert_eq!(edit("HOOKS=('base' udev)\r\n", &["vfioneer"]), text("HOOKS=(vfioneer 'base' udev)\r\n"));
    assert_eq!(
        edit("HOOKS=(\n  base # first\n  udev\n)\n", &["vfioneer"]),
        text("HOOKS=(vfioneer\n  base # first\n  udev\n)\n")
    );
    assert_eq!(edit("MODULES=()\n", &["a", "b"]), text("MODULES=(a b)\n"));
    assert_eq!(edit("HOOKS=(vfioneer base)\n", &["vfioneer"]), Edit::Nothing);
    assert_eq!(edit("MODULES=(vfio vfio-pci x)\n", &["vfio_pci", "vfio"]), Edit::Nothing);
    assert_eq!(
        edit("MODULES=(i915 vfio-pci)\n", &["vfio_pci", "vfio"]),
        text("MODULES=(vfio_pci vfio i915 vfio-pci)\n")
    );
    assert_eq!(edit("HOOKS=base\n", &["vfioneer"]), Edit::Impossible);
}

proptest! {
    #[test]
    fn an_edit_is_an_insertion_and_done_once(
        hooks in prop::collection::vec("[a-z]{1,6}", 0..6),
        separator in prop::sample::select(vec![" ", "  ", "\n    ", "\t"]),
        quoted in any::<bool>(),
        tail in prop::sample::select(vec!["\n", "", "\r\n", "\n# HOOKS=(x)\n", " # end\n"]),
    ) {
        let list = hooks.join(separator);
        let head = "# HOOKS=(old)\nMODULES=()\n";
        let text = if quoted { format!("{head}HOOKS=\"{list}\"{tail}") } else { format!("{head}HOOKS=({list}){tail}") };
        let Edit::Text(edited) = edit(&text, &["vfioneer"]) else { panic!("{text:?}") };
        let at = edited.find("vfioneer").unwrap();
        let rest = edited[at..].trim_start_matches("vfioneer");
        let undone = [format!("{}{rest}", &edited[..at]), format!("{}{}", &edited[..at], rest.trim_start_matches(' '))];
        prop_assert!(undone.contains(&text), "{edited:?}");
        let script = shell_vars::parse(&edited);
        let list = script.assignments.iter().find(|a| a.name == "HOOKS").unwrap().own_text();
        let expected: Vec<&str> = std::iter::once("vfioneer").chain(hooks.iter().map(String::as_str)).collect();
        prop_assert_eq!(list.split_ascii_whitespace().collect::<Vec<_>>(), expected);
        prop_assert_eq!(edit(&edited, &["vfioneer"]), Edit::Nothing);
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // A shell says what it makes of it.
fn a_pattern_of_microcode_becomes_files_when_it_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    for name in ["amd-ucode.img", "intel-ucode.img"] {
        std::fs::write(at(name), "").unwrap();
    }
    let preset = |pattern: &str| PRESET.replace("PRESETS", &format!("ALL_microcode=({pattern})\nPRESETS"));
    let of = |pattern: &str| {
        let snap = collect(&arch(&preset(pattern), CONF).build(), Needs::ALL);
        builds(&snap).remove(0).argv
    };
    assert_eq!(of("/boot/a.img /boot/b.img").iter().filter(|word| *word == "--microcode").count(), 2);
    let run = |pattern: &str| {
        let argv: Vec<String> = of(pattern).iter().map(|word| word.replacen("mkinitcpio", "echo", 1)).collect();
        let output = std::process::Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
        assert!(output.status.success(), "{argv:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&at("*-ucode.img"));
    let files = format!("--microcode {} --microcode {}\n", at("amd-ucode.img"), at("intel-ucode.img"));
    assert!(said.starts_with("-k /boot/vmlinuz-linux -g") && said.ends_with(&files), "{said}");
    assert!(!run(&at("none-*.img")).contains("--microcode"));
}
