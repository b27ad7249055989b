//! Each generator on hosts of a few files.

use super::*;
use crate::adapters::claim::Ids;
use crate::facts::initramfs::ORIGINS;
use crate::facts::{Needs, collect};
use crate::host::{Builder, Recorded};
use crate::parse::claims::parse;
use crate::parse::cpio::tests::build;

const CLAIM: &str = "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no";

fn identity() -> Wanted {
    Wanted::Identity(parse(CLAIM).claims)
}

fn by_ids() -> Wanted {
    Wanted::Ids(Ids { ids: vec!["10de:2684".into(), "10de:22ba".into()], natives: vec!["nouveau".into()] })
}

/// A host with kernels, the files of a generator, and more files.
fn host(releases: &[&str], files: &[(&str, &str)]) -> Builder {
    let mut builder = Recorded::builder();
    for release in releases {
        let dir = format!("/usr/lib/modules/{release}");
        builder.add_file(&format!("{dir}/modules.dep"), "kernel/drivers/vfio/pci/vfio-pci.ko:\n");
        builder.add_file(&format!("{dir}/modules.builtin"), "kernel/fs/ext4.ko\n");
        builder.add_file(&format!("/boot/vmlinuz-{release}"), "");
    }
    for (path, text) in files {
        builder.add_file(path, text);
    }
    builder
}

fn debian(releases: &[&str]) -> Builder {
    let mut builder =
        host(releases, &[("/usr/sbin/update-initramfs", "mkinitramfs -o x\n"), ("/usr/sbin/mkinitramfs", "")]);
    for release in releases {
        builder.add_file(&format!("/boot/initrd.img-{release}"), build(&[("init", b"")]));
    }
    builder
}

fn snapshot(mut builder: Builder) -> Snapshot {
    collect(&builder.build(), Needs::ALL)
}

fn written(work: &Work) -> Vec<&str> {
    let path = |step| match step {
        &Step { action: Action::WriteFile { ref path, .. }, .. } => path.as_str(),
        other => panic!("{other:?}"),
    };
    work.files.iter().map(path).collect()
}

fn argvs(work: &Work) -> Vec<String> {
    let argv = |step: &Step| match &step.action {
        Action::Generate { argv, output, .. } => format!("{} > {output}", argv.join(" ")),
        Action::Run { argv, .. } => argv.join(" "),
        other => panic!("{other:?}"),
    };
    work.commands.iter().map(argv).collect()
}

/// An image with all that a claim by identity needs.
fn claiming(script: &str, claims: &str) -> Vec<u8> {
    build(&[
        ("etc/vfioneer/claims", claims.as_bytes()),
        ("etc/vfioneer/claim.sh", script.as_bytes()),
        ("scripts/init-top/00-vfioneer", b"#!/bin/sh\n"),
        ("scripts/init-top/ORDER", b"/scripts/init-top/00-vfioneer \"$@\"\n/scripts/init-top/udev \"$@\"\n"),
        ("usr/lib/modules/6.12.1/kernel/drivers/vfio/vfio.ko.xz", b""),
        ("usr/lib/modules/6.12.1/kernel/drivers/vfio/vfio_iommu_type1.ko.xz", b""),
        ("usr/lib/modules/6.12.1/kernel/drivers/vfio/pci/vfio-pci.ko.xz", b""),
    ])
}

#[test]
fn debian_by_identity() {
    let work = work(&snapshot(debian(&["6.1.0-9-amd64", "6.12.1"])), &identity());
    let expected = [
        "/etc/vfioneer/claims",
        "/etc/vfioneer/claim.sh",
        "/etc/initramfs-tools/hooks/vfioneer",
        "/etc/initramfs-tools/scripts/init-top/00-vfioneer",
    ];
    assert_eq!(written(&work), expected);
    let expected = [
        "mkinitramfs -o {out} 6.1.0-9-amd64 > /boot/initrd.img-6.1.0-9-amd64",
        "mkinitramfs -o {out} 6.12.1 > /boot/initrd.img-6.12.1",
    ];
    assert_eq!(argvs(&work), expected);
    assert!(work.manual.is_empty() && work.notes.is_empty());
    let Action::Generate { product: Product::Image { release, modules, files }, .. } = &work.commands[0].action else {
        panic!("{work:?}")
    };
    assert_eq!((release.as_str(), modules.join(" ").as_str()), ("6.1.0-9-amd64", "vfio vfio_iommu_type1 vfio_pci"));
    let claims = claims::write(&parse(CLAIM).claims);
    let expected = [
        ("etc/vfioneer/claims".to_owned(), sha256(claims.as_bytes())),
        ("etc/vfioneer/claim.sh".to_owned(), sha256(SCRIPT.as_bytes())),
    ];
    assert_eq!(*files, expected);
    assert_eq!(work.expect.len(), 1);
}

#[test]
fn what_others_run_after_a_new_image_is_run() {
    let mut builder = debian(&["6.12.1"]);
    for name in ["flash-kernel", "systemd-boot", "zzz-vfioneer", "old.dpkg-bak"] {
        builder.add_file(&format!("/etc/initramfs/post-update.d/{name}"), "");
        builder.stat(&format!("/etc/initramfs/post-update.d/{name}"), |stat| stat.mode = 0o755);
    }
    builder.add_file("/etc/initramfs/post-update.d/README", "");
    let work = work(&snapshot(builder), &identity());
    let expected = "/etc/initramfs/post-update.d/flash-kernel 6.12.1 /boot/initrd.img-6.12.1";
    assert_eq!(argvs(&work)[1..], [expected]);
}

#[test]
fn what_is_there_is_not_done_again() {
    let text = claims::write(&parse(CLAIM).claims);
    let done = |script: &str, claims: &str, image_claims: &str| {
        let mut builder = debian(&["6.12.1"]);
        builder.add_file("/etc/vfioneer/claims", claims).add_file("/etc/vfioneer/claim.sh", script);
        builder.add_file("/etc/initramfs-tools/hooks/vfioneer", include_str!("files/initramfs-tools-hook"));
        let script_file = include_str!("files/initramfs-tools-script");
        builder.add_file("/etc/initramfs-tools/scripts/init-top/00-vfioneer", script_file);
        builder.add_file("/boot/initrd.img-6.12.1", claiming(script, image_claims));
        work(&snapshot(builder), &identity())
    };
    let nothing = done(SCRIPT, &text, &text);
    assert!(nothing.is_empty() && nothing.expect.len() == 1, "{nothing:?}");
    // An image with other claims, and files of an older version.
    assert_eq!(argvs(&done(SCRIPT, &text, "# vfioneer claims 1\n")).len(), 1);
    let old = done("#!/bin/sh\n", &text, &text);
    assert_eq!((written(&old), old.commands.len()), (vec!["/etc/vfioneer/claim.sh"], 1));
}

#[test]
fn another_method_takes_the_files_of_the_first_away() {
    let mut builder = debian(&["6.12.1"]);
    builder.add_file("/etc/modprobe.d/vfioneer.conf", "options vfio-pci ids=10de:2684\n");
    builder.add_file("/usr/share/initramfs-tools/modules.d/vfioneer", "vfio\n");
    let work = work(&snapshot(builder), &identity());
    let gone = |step: &Step| match &step.action {
        Action::RemoveFile { path, .. } => Some(path.clone()),
        _ => None,
    };
    let gone: Vec<String> = work.files.iter().filter_map(gone).collect();
    assert_eq!(gone, ["/etc/modprobe.d/vfioneer.conf", "/usr/share/initramfs-tools/modules.d/vfioneer"]);
}

#[test]
fn debian_by_ids() {
    let found = work(&snapshot(debian(&["6.12.1"])), &by_ids());
    assert_eq!(written(&found), ["/etc/modprobe.d/vfioneer.conf", "/usr/share/initramfs-tools/modules.d/vfioneer"]);
    let after = found.files[0].text().unwrap();
    assert_eq!(
        after,
        "# Written by vfioneer.\noptions vfio-pci ids=10de:2684,10de:22ba\nsoftdep nouveau pre: vfio-pci\n"
    );
    // Built into the only kernel: there is nothing to load, and nothing to be in the image.
    let mut builder = debian(&["6.12.1"]);
    let all =
        "kernel/drivers/vfio/vfio.ko\nkernel/drivers/vfio/vfio_iommu_type1.ko\nkernel/drivers/vfio/pci/vfio-pci.ko\n";
    builder.add_file("/usr/lib/modules/6.12.1/modules.builtin", all);
    assert!(work(&snapshot(builder), &by_ids()).is_empty());
}

#[test]
fn what_is_built_in_is_in_no_image() {
    let mut builder = debian(&["6.12.1", "6.8.0"]);
    builder.add_file(
        "/usr/lib/modules/6.8.0/modules.builtin",
        "kernel/drivers/vfio/vfio.ko\nkernel/drivers/vfio/pci/vfio-pci.ko\n",
    );
    let found = work(&snapshot(builder), &identity());
    let modules = |step: &Step| match &step.action {
        Action::Generate { product: Product::Image { release, modules, .. }, .. } => (release.clone(), modules.len()),
        other => panic!("{other:?}"),
    };
    let found: Vec<_> = found.commands.iter().map(modules).collect();
    assert_eq!(found, [("6.12.1".to_owned(), 3), ("6.8.0".to_owned(), 1)]);
}

fn fedora(release: &str) -> Builder {
    let mut builder = host(&[release], &[("/usr/bin/dracut", "")]);
    builder.add_file(&format!("/boot/initramfs-{release}.img"), build(&[("init", b"")]));
    builder.add_file("/boot/initramfs-0-rescue-6c6162206d616368696e652069640001.img", build(&[("init", b"")]));
    builder.add_file(&format!("/boot/initramfs-{release}kdump.img"), build(&[("init", b"")]));
    builder
}

#[test]
fn dracut_leaves_the_rescue_image() {
    let release = "6.12.9-200.fc41.x86_64";
    let found = work(&snapshot(fedora(release)), &identity());
    let command =
        format!("env NO_POST_UPDATE_HOOKS=1 dracut --force {{out}} {release} > /boot/initramfs-{release}.img");
    assert_eq!(argvs(&found), [command]);
    assert_eq!(written(&found)[2..], [dracut::MODULE_SETUP, dracut::CLAIM_HOOK]);
    let found = work(&snapshot(fedora(release)), &by_ids());
    assert_eq!(written(&found), [MODPROBE, dracut::CONF]);
    let after = found.files[1].text().unwrap();
    assert!(after.contains("\nforce_drivers+=\" vfio vfio_iommu_type1 vfio_pci \"\n"), "{after}");
    assert!(after.ends_with("\ninstall_items+=\" /etc/modprobe.d/vfioneer.conf \"\n"), "{after}");
}

#[test]
fn images_that_the_boot_chain_makes_are_left_to_it() {
    let release = "6.12.9-200.fc41.x86_64";
    let token = "/boot/efi/6c6162206d616368696e652069640001";
    let mut builder = host(&[release], &[("/usr/bin/dracut", "")]);
    builder.add_file(&format!("{token}/{release}/initrd"), build(&[("init", b"")]));
    let found = work(&snapshot(builder), &identity());
    assert!(found.commands.is_empty() && found.manual.is_empty() && found.files.len() == 4, "{found:?}");
}

#[test]
fn rpm_ostree_gets_arguments() {
    let release = "6.12.9-200.fc41.x86_64";
    let mut builder = host(&[release], &[("/run/ostree-booted", ""), ("/usr/bin/dracut", "")]);
    builder.add_file(&format!("/boot/ostree/fedora-abc/initramfs-{release}.img"), build(&[("init", b"")]));
    let snap = snapshot(builder);
    let found = work(&snap, &identity());
    assert_eq!(written(&found), [own::CLAIMS, own::SCRIPT, MODPROBE]);
    let command = "rpm-ostree initramfs --enable --arg=--add-drivers --arg=vfio vfio_iommu_type1 vfio_pci --arg=-I \
                   --arg=/etc/vfioneer/claims /etc/vfioneer/claim.sh /etc/modprobe.d/vfioneer.conf";
    assert_eq!(argvs(&found), [command]);
    assert_eq!(words(&snap), ["rd.driver.pre=vfio-pci"]);
    let undo = |work: &Work| match &work.commands[0].action {
        Action::Run { undo, touches, .. } if touches.is_empty() => undo.join(" "),
        other => panic!("{other:?}"),
    };
    assert_eq!(undo(&found), "rpm-ostree initramfs --disable");
    // The user's own arguments stay, before and after.
    let origin = |number: u32, arguments: &str| {
        let text = format!(
            "[origin]\nbaserefspec=fedora\n\n[rpmostree]\nregenerate-initramfs=true\ninitramfs-args={arguments}\n"
        );
        (format!("{ORIGINS}/fedora/deploy/{number}.0.origin"), text)
    };
    let with = |origins: &[(String, String)]| {
        let mut builder = self::host(&[release], &[("/run/ostree-booted", ""), ("/usr/bin/dracut", "")]);
        builder.add_file(&format!("/boot/ostree/fedora-abc/initramfs-{release}.img"), build(&[("init", b"")]));
        for (path, text) in origins {
            builder.add_file(path, text);
        }
        work(&snapshot(builder), &identity())
    };
    let crypt = "-I;/etc/crypttab;";
    let kept = with(&[
        origin(1, crypt),
        origin(2, &format!("{crypt}--add-drivers;vfio vfio_iommu_type1 vfio_pci;-I;/etc/vfioneer/claims;")),
    ]);
    assert_eq!(argvs(&kept), [command.replace("--enable", "--enable --arg=-I --arg=/etc/crypttab")]);
    assert_eq!(undo(&kept), "rpm-ostree initramfs --enable --arg=-I --arg=/etc/crypttab");
    let ours = with(&[origin(1, "--add-drivers;vfio vfio_iommu_type1 vfio_pci;-I;/etc/vfioneer/claims;")]);
    assert_eq!((argvs(&ours), undo(&ours).as_str()), (vec![command.to_owned()], "rpm-ostree initramfs --disable"));
    let differ = with(&[origin(1, crypt), origin(2, "")]);
    assert_eq!((differ.commands.len(), differ.manual.len()), (0, 1));
    let after = found.files[2].text().unwrap();
    assert_eq!(crate::parse::modprobe::parse(after)[0].module, "vfio-pci");
    let mut builder = host(&[release], &[("/run/ostree-booted", "")]);
    let image = build(&[
        ("etc/vfioneer/claims", b"# vfioneer claims 1\n"),
        ("etc/vfioneer/claim.sh", b""),
        ("etc/modprobe.d/vfioneer.conf", after.as_bytes()),
    ]);
    builder.add_file(&format!("/boot/ostree/fedora-abc/initramfs-{release}.img"), image);
    let snap = snapshot(builder);
    assert!(snap.initramfs.images[0].content.known().unwrap().claims_before_udev());
}

#[test]
fn unknown_generators_are_left_to_a_person() {
    let found = work(&snapshot(host(&["6.12.1"], &[("/etc/NIXOS", "")])), &identity());
    assert_eq!((found.manual.len(), found.commands.len()), (2, 0));
    let found = work(&snapshot(host(&["6.12.1"], &[])), &by_ids());
    assert_eq!((found.manual.len(), found.commands.len()), (1, 0));
    let found = work(&snapshot(host(&["6.12.1"], &[("/usr/sbin/mkinitramfs", "")])), &identity());
    assert_eq!(found.manual.len(), 1);
}
