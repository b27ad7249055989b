use super::super::testing::{Files, words};
use super::*;
use crate::parse::pe::tests::build;

const OPTIONS: &str = "root=UUID=1 ro systemd.machine_id=0a1b";
const RELEASE: &str = "6.12.1-amd64";

fn image(words: &str, release: &str) -> Vec<u8> {
    build(&[
        (".cmdline", words.as_bytes()),
        (".uname", release.as_bytes()),
        (".linux", b"kernel"),
        (".initrd", b"cpio"),
    ])
}

fn debian(words: &str) -> Files {
    Files::new(&[
        ("/proc/cmdline", "root=UUID=1 ro systemd.machine_id=0a1b\n"),
        ("/etc/kernel/install.conf", "layout=uki\nuki_generator=ukify\n"),
        ("/etc/kernel/cmdline", "root=UUID=1 ro\n"),
        ("/usr/lib/kernel/install.d/60-ukify.install", "#!/usr/bin/env python3\n"),
        ("/boot/vmlinuz-6.12.1-amd64", "MZ"),
        ("/boot/initrd.img-6.12.1-amd64", "image"),
        ("/usr/lib/modules/6.12.1-amd64/modules.dep", ""),
        ("/sys/firmware/efi/runtime", ""),
    ])
    .loader("StubInfo", "systemd-stub 257")
    .with("/boot/efi/EFI/Linux/0a1b-6.12.1-amd64.efi", image(words, RELEASE))
}

fn arch(words: &str) -> Files {
    let release = "6.12.4-arch1-1";
    Files::new(&[
        ("/proc/cmdline", "root=UUID=1 rw\n"),
        ("/etc/mkinitcpio.conf", "HOOKS=(base udev)\n"),
        (
            "/etc/mkinitcpio.d/linux.preset",
            "ALL_kver=\"/boot/vmlinuz-linux\"\nPRESETS=('default')\ndefault_uki=\"/efi/EFI/Linux/arch-linux.efi\"\n",
        ),
        ("/usr/lib/modules/6.12.4-arch1-1/pkgbase", "linux\n"),
        ("/usr/lib/modules/6.12.4-arch1-1/vmlinuz", "MZ"),
        ("/boot/vmlinuz-linux", "MZ"),
        ("/sys/firmware/efi/runtime", ""),
    ])
    .loader("StubInfo", "systemd-stub 257")
    .with("/efi/EFI/Linux/arch-linux.efi", image(words, release))
}

fn generated(work: &Work) -> Vec<(Vec<String>, String, Product)> {
    let generate = |step: &Step| match &step.action {
        Action::Generate { argv, output, product } => Some((argv.clone(), output.clone(), product.clone())),
        _ => None,
    };
    work.commands.iter().filter_map(generate).collect()
}

#[test]
fn ukify_makes_the_image_as_kernel_install_would() {
    let host = debian(OPTIONS);
    let work = host.work(&words("iommu=pt", ""));
    let after = host.after(&work);
    assert_eq!(after.text(CMDLINE), Some("root=UUID=1 ro iommu=pt\n"));
    let made = generated(&work);
    let [(argv, output, Product::Unified { release, words: wanted, .. })] = made.as_slice() else { panic!("{work:?}") };
    assert_eq!(output, "/boot/efi/EFI/Linux/0a1b-6.12.1-amd64.efi");
    assert_eq!(argv[4..], ["0a1b", RELEASE, "/boot/vmlinuz-6.12.1-amd64", "/boot/initrd.img-6.12.1-amd64", "{out}"]);
    assert_eq!((release.as_str(), wanted.as_slice()), (RELEASE, &["iommu=pt".to_owned()][..]));
    // Once it is made, nothing is left to do.
    let after = after.with(output, image(&format!("{OPTIONS} iommu=pt"), RELEASE));
    assert!(after.work(&words("iommu=pt", "")).is_empty());
    assert_eq!(generated(&after.work(&words("", "iommu=pt"))).len(), 1);
    // The image alone has to follow the initramfs.
    let images = WordChange { images: true, ..words("iommu=pt", "") };
    let again = after.work(&images);
    assert!(again.files.is_empty() && generated(&again).len() == 1);
}

#[test]
fn counted_names_and_what_is_not_known() {
    let mut host = debian(OPTIONS);
    let file = host.0.remove("/boot/efi/EFI/Linux/0a1b-6.12.1-amd64.efi").unwrap();
    let counted = host.with("/boot/efi/EFI/Linux/0a1b-6.12.1-amd64+2-1.efi", file);
    assert_eq!(generated(&counted.work(&words("iommu=pt", "")))[0].0[4], "0a1b");
    let mut lost = debian(OPTIONS);
    lost.0.remove("/boot/initrd.img-6.12.1-amd64");
    let work = lost.work(&words("iommu=pt", ""));
    assert!(work.commands.is_empty() && work.files.is_empty() && !work.manual.is_empty(), "{work:?}");
}

#[test]
fn signed_images_need_a_key() {
    let on = [6, 0, 0, 0, 1];
    let host = debian(OPTIONS).with("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", on);
    let work = host.work(&words("iommu=pt", ""));
    assert!(work.commands.is_empty() && work.manual[0].contains("Secure Boot"), "{work:?}");
    let key = host.with("/etc/kernel/uki.conf", "[UKI]\nSecureBootPrivateKey=/etc/keys/db.key\n");
    assert!(key.work(&words("iommu=pt", "")).manual.is_empty());
}

#[test]
fn mkinitcpio_takes_words_from_one_file_or_several() {
    let host = arch("root=UUID=1 rw").with(CMDLINE, "root=UUID=1 rw\n");
    let work = host.work(&words("iommu=pt", "rw"));
    assert_eq!(host.after(&work).text(CMDLINE), Some("root=UUID=1 iommu=pt\n"));
    let (argv, output, _) = &generated(&work)[0];
    assert_eq!(argv, &["mkinitcpio", "-k", "/boot/vmlinuz-linux", "-U", "{out}"]);
    assert_eq!(output, "/efi/EFI/Linux/arch-linux.efi");

    let several = arch("root=UUID=1 rw").with("/etc/cmdline.d/root.conf", "root=UUID=1 rw\n");
    let after = several.after(&several.work(&words("iommu=pt", "rw")));
    assert_eq!(after.text("/etc/cmdline.d/root.conf"), Some("root=UUID=1\n"));
    assert_eq!(after.text(OWN), Some("iommu=pt\n"));
    let back = after.after(&after.work(&words("", "iommu=pt")));
    assert_eq!(back.text(OWN), None);

    // A file that the preset names is the only one.
    let preset = "ALL_kver=\"/boot/vmlinuz-linux\"\nPRESETS=('default')\ndefault_uki=\"/efi/EFI/Linux/arch-linux.efi\"\ndefault_cmdline=/etc/words\n";
    let named =
        arch("root=UUID=1 rw").with("/etc/mkinitcpio.d/linux.preset", preset).with("/etc/words", "root=UUID=1 rw\n");
    let after = named.after(&named.work(&words("iommu=pt", "")));
    assert_eq!(after.text("/etc/words"), Some("root=UUID=1 rw iommu=pt\n"));

    // No file at all: the image's own words, for without them there would be no root.
    let none = arch("root=UUID=1 rw");
    let after = none.after(&none.work(&words("iommu=pt", "")));
    assert_eq!(after.text(CMDLINE), Some("root=UUID=1 rw iommu=pt\n"));
}
