//! Images as distributions name and place them.

use super::*;
use crate::facts::kernel::{InstalledKernel, Kernel};
use crate::host::{Builder, Recorded};
use crate::parse::cpio::tests::build;

fn kernels(releases: &[&str]) -> Kernel {
    let installed = releases.iter().map(|release| InstalledKernel { release: (*release).into(), ..Default::default() });
    Kernel { installed: installed.collect(), ..Kernel::default() }
}

fn images(builder: &mut Builder, releases: &[&str]) -> Vec<(String, String, bool)> {
    let found = collect(&builder.build(), Needs::LIST, &kernels(releases));
    assert!(found.images.iter().all(|image| image.content.is_unknown()));
    found.images.into_iter().map(|image| (image.path, image.release, image.unified)).collect()
}

#[test]
fn image_names() {
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (
            &[
                "/boot/initrd.img-6.8.12-4-pve",
                "/boot/initrd.img-6.5.11-8-pve.dpkg-bak",
                "/boot/initrd.img-6.5.11-8-pve",
            ],
            &["6.8.12-4-pve"],
            &[("/boot/initrd.img-6.8.12-4-pve", "6.8.12-4-pve")],
        ),
        (
            &[
                "/boot/initramfs-5.14.0-503.el9.x86_64.img",
                "/boot/initramfs-5.14.0-503.el9.x86_64kdump.img",
                "/boot/initramfs-0-rescue-0123456789abcdef.img",
            ],
            &[],
            &[("/boot/initramfs-5.14.0-503.el9.x86_64.img", "5.14.0-503.el9.x86_64")],
        ),
        (
            &["/boot/initrd-6.4.0-150600.23-default", "/boot/vmlinuz-6.4.0-150600.23-default"],
            &["6.4.0-150600.23-default"],
            &[("/boot/initrd-6.4.0-150600.23-default", "6.4.0-150600.23-default")],
        ),
        (
            &[
                "/boot/efi/0123456789abcdef0123456789abcdef/6.12.41+deb13-amd64/initrd.img-6.12.41+deb13-amd64",
                "/boot/efi/0123456789abcdef0123456789abcdef/6.12.41+deb13-amd64/linux",
            ],
            &["6.12.41+deb13-amd64"],
            &[(
                "/boot/efi/0123456789abcdef0123456789abcdef/6.12.41+deb13-amd64/initrd.img-6.12.41+deb13-amd64",
                "6.12.41+deb13-amd64",
            )],
        ),
        (
            &["/boot/ostree/fedora-a1b2/initramfs-6.17.4-200.fc42.x86_64.img"],
            &["6.17.4-200.fc42.x86_64"],
            &[("/boot/ostree/fedora-a1b2/initramfs-6.17.4-200.fc42.x86_64.img", "6.17.4-200.fc42.x86_64")],
        ),
    ];
    for (files, releases, expected) in cases {
        let mut builder = Recorded::builder();
        for path in *files {
            builder.add_file(path, "");
        }
        let expected: Vec<_> =
            expected.iter().map(|(path, release)| ((*path).to_owned(), (*release).to_owned(), false)).collect();
        assert_eq!(images(&mut builder, releases), expected);
    }
}

#[test]
fn arch() {
    let mut builder = Recorded::builder();
    builder
        .add_file("/usr/lib/modules/6.17.1-arch1-1/pkgbase", "linux\n")
        .add_file("/usr/lib/modules/6.12.50-1-lts/pkgbase", "linux-lts\n")
        .add_file("/boot/initramfs-linux.img", "")
        .add_file("/boot/initramfs-linux-fallback.img", "")
        .add_file("/boot/initramfs-linux-lts.img", "")
        .add_file("/efi/EFI/Linux/arch-linux-lts.efi", "")
        .add_file("/efi/EFI/Linux/0123-6.17.1-arch1-1+3-1.efi", "");
    let found = images(&mut builder, &["6.12.50-1-lts", "6.17.1-arch1-1"]);
    let expected = [
        ("/boot/initramfs-linux-lts.img", "6.12.50-1-lts", false),
        ("/efi/EFI/Linux/arch-linux-lts.efi", "6.12.50-1-lts", true),
        ("/boot/initramfs-linux-fallback.img", "6.17.1-arch1-1", false),
        ("/boot/initramfs-linux.img", "6.17.1-arch1-1", false),
        ("/efi/EFI/Linux/0123-6.17.1-arch1-1+3-1.efi", "6.17.1-arch1-1", true),
    ];
    assert_eq!(found, expected.map(|(path, release, unified)| (path.to_owned(), release.to_owned(), unified)));
}

#[test]
#[allow(clippy::disallowed_methods)]
fn contents_are_read_from_a_real_tree() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let boot = dir.path().join("boot");
    std::fs::create_dir_all(&boot).expect("made");
    let image = build(&[("lib/modules/6.1.0-1/kernel/vfio-pci.ko", b""), ("conf/modules", b"vfio\n")]);
    std::fs::write(boot.join("initrd.img-6.1.0-1"), image).expect("written");
    std::fs::write(boot.join("initrd.img-6.1.0-2"), "cut off").expect("written");
    let host = crate::host::Tree::mounted(dir.path()).expect("a host");
    let found = collect(&host, Needs::ALL, &kernels(&["6.1.0-1", "6.1.0-2"]));
    let [good, bad] = found.images.as_slice() else { panic!("{:?}", found.images) };
    assert!(good.content.known().is_some_and(|content| content.has_module("vfio_pci")));
    assert!(matches!(bad.content, Fact::Unknown(Why::Malformed(_))));
    assert_eq!(found.of("6.1.0-1").count(), 1);
}

#[test]
fn settings() {
    let mut builder = Recorded::builder();
    builder
        .add_file("/usr/bin/dracut", "")
        .add_file("/usr/lib/dracut/dracut.conf.d/01-dist.conf", "hostonly=\"yes\"\n")
        .add_file("/etc/dracut.conf.d/generic.conf", "hostonly=\"no\" # for every machine\n")
        .add_file("/etc/mkinitcpio.conf", "hostonly=x\n");
    let found = collect(&builder.build(), Needs::LIST, &kernels(&[]));
    assert_eq!(found.setting("hostonly").as_deref(), Some("no"));
    assert_eq!(found.setting("HOOKS"), None);
}
