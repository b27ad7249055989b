use super::*;
use std::io::Read;

fn known(text: &str) -> Fact<String> {
    Fact::Known(text.into())
}

#[test]
fn answers_like_a_file_system() {
    let host = Recorded::builder()
        .add_values("/sys/devices/pci0000:00/0000:00:02.0", &[("vendor", "0x8086")])
        .add_link("/sys/bus/pci/devices/0000:00:02.0", "../../../devices/pci0000:00/0000:00:02.0")
        .add_link("/sys/devices/pci0000:00/0000:00:02.0/driver", "../../../bus/pci/drivers/i915")
        .add_file("/sys/bus/pci/devices/0000:00:02.0/device", "0x9bc4\n")
        .add_link("/abs", "/sys/bus")
        .add_link("/out", "../../../../sys")
        .add_link("/loop", "/loop")
        .add_link("/dangling", "nowhere")
        .add_dir("/empty")
        .add_device("/dev/kvm", 10, 232)
        .add_unread("/boot/initrd.img", 60 << 20, 1_700_000_000)
        .deny("/secret")
        .deny_because("/broken", Why::Io("input/output error".into()))
        .build();
    assert_eq!(host.value("/sys/bus/pci/devices/0000:00:02.0/vendor"), known("0x8086"));
    assert_eq!(host.value("/sys/devices/pci0000:00/0000:00:02.0/device"), known("0x9bc4"));
    assert_eq!(host.value("/abs/pci/../pci/devices/0000:00:02.0/vendor"), known("0x8086"));
    assert_eq!(host.value("/out/bus/pci/devices/0000:00:02.0/vendor"), known("0x8086"));
    assert_eq!(host.value("/../..//abs/./pci/devices/0000:00:02.0/vendor"), known("0x8086"));
    assert_eq!(host.link("/sys/bus/pci/devices/0000:00:02.0/driver"), known("../../../bus/pci/drivers/i915"));
    assert_eq!(host.link("/sys/bus/pci/devices/0000:00:02.0/vendor"), Fact::Absent);
    assert_eq!(host.entries("/abs/pci/devices"), Fact::Known(vec!["0000:00:02.0".into()]));
    assert_eq!(host.entries("/empty"), Fact::Known(vec![]));
    assert_eq!(host.entries("/none"), Fact::Absent);
    assert_eq!(host.read("/dangling"), Fact::Absent);
    assert_eq!(host.read("/none/x"), Fact::Absent);
    assert_eq!(host.read("/abs/pci/devices/0000:00:02.0/vendor/x"), Fact::Absent);
    assert_eq!(host.read("/loop"), Fact::Unknown(Why::Io("too many levels of symbolic links".into())));
    assert_eq!(host.read("/empty"), Fact::Unknown(Why::Io("is a directory".into())));
    assert_eq!(host.read("/dev/kvm"), Fact::Unknown(Why::Io("is no regular file".into())));
    assert_eq!(host.stat("/dev/kvm").map(|s| s.rdev), Fact::Known((10, 232)));
    assert_eq!(host.exists("/dev/vfio"), Fact::Known(false));
    assert_eq!(host.read("/secret"), Fact::Unknown(Why::NotPermitted));
    assert_eq!(host.read("/secret/below"), Fact::Unknown(Why::NotPermitted));
    assert_eq!(host.entries("/secret"), Fact::Unknown(Why::NotPermitted));
    assert_eq!(host.exists("/secret"), Fact::Known(true));
    assert_eq!(host.read("/broken").why(), Some(&Why::Io("input/output error".into())));
    assert_eq!(host.read("/boot/initrd.img"), Fact::Unknown(Why::NotRecorded));
    assert_eq!(host.stat("/boot/initrd.img").map(|s| s.size), Fact::Known(60 << 20));
    assert_eq!(host.query(Query::KernelLog), Fact::Unknown(Why::NotRecorded));
}

#[test]
fn what_was_not_recorded_is_absent_only_where_that_was_seen() {
    let host = Recorded::builder()
        .complete(false)
        .add_file("/etc/modprobe.d/vfio.conf", "")
        .listed("/etc/modprobe.d")
        .add_absent("/etc/kernel/cmdline")
        .add_absent("/usr/gone")
        .build();
    assert_eq!(host.read("/etc/modprobe.d/other.conf"), Fact::Absent);
    assert_eq!(host.entries("/etc/modprobe.d"), Fact::Known(vec!["vfio.conf".into()]));
    assert_eq!(host.read("/etc/kernel/cmdline"), Fact::Absent);
    assert_eq!(host.read("/usr/gone/below"), Fact::Absent);
    assert_eq!(host.read("/etc/fstab"), Fact::Unknown(Why::NotRecorded));
    assert_eq!(host.exists("/etc/fstab"), Fact::Unknown(Why::NotRecorded));
    assert_eq!(host.exists("/etc/kernel"), Fact::Known(true));
    assert_eq!(host.entries("/etc"), Fact::Unknown(Why::NotRecorded));
    assert_eq!(host.entries("/"), Fact::Unknown(Why::NotRecorded));
}

#[test]
fn digests_come_from_the_recording_or_the_recorded_bytes() {
    fn length(data: &mut dyn Read) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "empty"));
        }
        Ok(bytes.len().to_string().into_bytes())
    }
    let digest = Digest { name: "length/1", compute: length };
    let host = Recorded::builder()
        .add_file("/a", "four")
        .add_file("/empty", "")
        .add_unread("/boot/image-1", 5, 0)
        .add_unread("/boot/image-2", 5, 0)
        .add_link("/boot/image", "image-1")
        .digest("/boot/image", "length/1", "5")
        .build();
    assert_eq!(host.digest("/a", &digest), Fact::Known(b"4".into()));
    assert_eq!(host.digest("/boot/image-1", &digest), Fact::Known(b"5".into()));
    assert_eq!(host.digest("/boot/image", &digest), Fact::Known(b"5".into()));
    assert_eq!(host.digest("/boot/image-2", &digest), Fact::Unknown(Why::NotRecorded));
    assert_eq!(host.digest("/empty", &digest), Fact::Unknown(Why::Malformed("empty".into())));
    assert_eq!(host.digest("/none", &digest), Fact::Absent);
    assert_eq!(host.digest("/boot", &digest), Fact::Unknown(Why::Io("is a directory".into())));
}

#[test]
fn a_builder_replaces_what_is_in_the_way() {
    let host = Recorded::builder()
        .add_file("/a", "1")
        .add_file("/a/b", "2")
        .add_link("/x", "y")
        .add_link("/y", "x")
        .add_file("/x/z", "3")
        .add_file("/", "nothing")
        .stat("/a/b", |stat| stat.uid = 1000)
        .build();
    assert_eq!(host.value("/a/b"), known("2"));
    assert_eq!(host.stat("/a/b").map(|s| s.uid), Fact::Known(1000));
    assert_eq!(host.value("/x/z"), known("3"));
}
