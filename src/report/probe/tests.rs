use super::*;
use crate::checks::testing::healthy;

fn probe(steps: Vec<(Stage, Detail)>) -> Probe {
    let address = Address::parse("0000:01:00.0").unwrap();
    let steps = steps.into_iter().map(|(stage, detail)| Step { stage, detail }).collect();
    Probe { address, interface: Interface::Group, steps }
}

fn good() -> Vec<(Stage, Detail)> {
    let touched = |address: &str| Touched { address: address.into(), group: Some(1), driver: Some("vfio-pci".into()) };
    vec![
        (Stage::Open, Detail::Opened),
        (Stage::Config, Detail::Config { vendor: 0x10de, device: 0x2484 }),
        (Stage::Bar(0), Detail::Bar { size: 16 << 20, mapped: true, value: 0x1a2b }),
        (Stage::Bar(5), Detail::Bar { size: 128, mapped: false, value: u32::MAX }),
        (Stage::Interrupts, Detail::Interrupts { counts: vec![(Irq::Intx, 1), (Irq::Msi, 1)], tried: Some(Irq::Msi) }),
        (Stage::Dma, Detail::Dma { iova: 1 << 20, size: 4096, unmapped: 4096 }),
        (Stage::Rom, Detail::Rom { size: 512 << 10, start: [0x55, 0xaa] }),
        (
            Stage::Reset,
            Detail::Reset { alone: false, touches: Some(vec![touched("0000:01:00.0"), touched("0000:01:00.1")]) },
        ),
        (Stage::Close, Detail::Closed),
    ]
}

fn bad() -> Vec<(Stage, Detail)> {
    let touched = |address: &str, driver: Option<&str>| Touched {
        address: address.into(),
        group: None,
        driver: driver.map(str::to_owned),
    };
    let touches = vec![touched("0000:01:00.0", Some("vfio-pci")), touched("0000:01:00.1", Some("snd\x1b[31m"))];
    vec![
        (Stage::Open, Detail::Opened),
        (Stage::Config, Detail::NoAnswer),
        (Stage::Bar(1), Detail::Bar { size: 4096, mapped: true, value: u32::MAX }),
        (Stage::Interrupts, Detail::Failed { why: "VFIO_DEVICE_SET_IRQS: device or resource busy".into() }),
        (Stage::Dma, Detail::Dma { iova: 0, size: 4096, unmapped: 0 }),
        (Stage::Rom, Detail::NoRom),
        (Stage::Reset, Detail::Reset { alone: false, touches: Some(touches) }),
        (Stage::Close, Detail::Failed { why: "the kernel did not return from that within 30 seconds".into() }),
    ]
}

fn plain_text(probes: &[Probe]) -> String {
    let text = text(&Style { width: Some(80) }, probes, &healthy().pci);
    assert!(!text.contains("\x1b[31ms"), "{text}");
    let text = anstream::adapter::strip_str(&text).to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    text
}

#[test]
fn what_a_person_reads() {
    let text = plain_text(&[probe(good())]);
    let rest = text.split_once('\n').unwrap().1;
    let (above, below) = rest.split_once("         01:00.1  ").unwrap();
    assert_eq!(
        above,
        "  yes  it opens\n  yes  it answers: 10de:2484\n  yes  BAR 0, 16.0 MiB, mapped: reads 00001a2b\n\
         \x20 -    BAR 5, 128 B, through the kernel: reads all ones\n  yes  MSI goes on and off; there is INTx 1, MSI 1\n\
         \x20 yes  DMA: 4.0 KiB mapped at 0x100000, and unmapped\n  yes  option ROM, 512.0 KiB: begins with 55 aa\n\
         \x20 -    it cannot be reset alone\n  yes  a hot reset touches 1 other function, on vfio too:\n"
    );
    assert!(below.contains("vfio-pci, group 1\n  yes  it closes\n"), "{below}");
    assert!(text.ends_with("Ready: all is well in 1 probe. What is left to prove takes a VM.\n"), "{text}");
}

#[test]
fn what_does_not_work() {
    let text = plain_text(&[probe(good()), probe(bad())]);
    for said in [
        "  no   it does not answer: its configuration space reads as all ones\n",
        "  no   switching an interrupt on and off: VFIO_DEVICE_SET_IRQS: device or\n       resource busy\n",
        "  no   DMA: of 4.0 KiB mapped, 0 B were unmapped\n",
        "  -    it has no option ROM that can be read\n",
        "  no   a hot reset is not possible: it touches 1 other function, 1 not on vfio:\n",
        "snd?[31m\n",
        "  no   closing it: the kernel did not return from that within 30 seconds\n",
        "  no   none of its BARs answers: each reads as all ones\n",
        "Not ready: 1 of 2 probes went well.\n",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn what_a_program_reads() {
    let read = |probes: &[Probe]| -> Value { serde_json::from_str(&json(probes, &healthy().pci)).unwrap() };
    let one = read(&[probe(good())]);
    assert_eq!((&one["schema"], &one["ready"]), (&"vfioneer/probe/1".into(), &true.into()));
    let first = &one["probes"][0];
    assert_eq!((&first["address"], &first["interface"]), (&"0000:01:00.0".into(), &"group".into()));
    assert_eq!(
        first["steps"][2],
        json!({
            "stage": "bar", "index": 0, "state": "works",
            "detail": { "what": "bar", "size": 16 << 20, "mapped": true, "value": "00001a2b" },
        })
    );
    assert_eq!(first["steps"][1]["detail"]["vendor_id"], "10de");
    assert_eq!((&first["steps"][1]["index"], &first["steps"][6]["detail"]["start"]), (&Value::Null, &"55 aa".into()));
    assert_eq!(first["steps"][7]["detail"]["touches"][1]["driver"], "vfio-pci");
    let both = read(&[probe(good()), probe(bad())]);
    assert_eq!((&both["ready"], &both["probes"][0]["ready"]), (&false.into(), &true.into()));
    assert_eq!(both["probes"][1]["steps"][1]["state"], "fails");
}
