//! vfio ids that the driver does not read as they were meant.

use crate::facts::pci::Pci;
use crate::parse::address::Address;
use crate::parse::vfio_ids::{self, Fault, LIMIT};

/// The value of `ids` as it was meant, without what nobody can tell the meaning of and without `dropped` items; `None` if
/// nothing is left. A value that the driver reads as it stands is given back as it stands.
pub(super) fn mended(value: &str, pci: &Pci, dropped: impl Fn(&str) -> bool) -> Option<String> {
    let sound = vfio_ids::parse(value).iter().all(|item| item.fault.is_none() && !dropped(item.text.trim()));
    if sound && value.len() <= LIMIT && !value.contains(char::is_whitespace) {
        return Some(value.to_owned());
    }
    let mut kept: Vec<String> = Vec::new();
    let mut half: Option<&str> = None;
    // `;` and blanks were meant as commas.
    for text in value.split([',', ';', ' ', '\t']).map(str::trim).filter(|text| !text.is_empty()) {
        let items = vfio_ids::parse(text);
        let Some(item) = items.first() else { continue };
        let meant = match item.fault {
            None => Some(text.to_owned()),
            Some(Fault::Address) => of_address(text, pci),
            Some(Fault::OneNumber) => match half.take() {
                // Two halves of an id of this host.
                Some(first) if is_there(&format!("{first}:{text}"), pci) => Some(format!("{first}:{text}")),
                _ => {
                    half = Some(text);
                    continue;
                }
            },
            Some(Fault::Placeholder | Fault::Separator | Fault::TooBig | Fault::NotHex) => None,
        };
        let meant = meant.filter(|meant| !dropped(meant) && !kept.contains(meant));
        kept.extend(meant);
    }
    let mended = kept.join(",");
    (!mended.is_empty() && mended.len() <= LIMIT).then_some(mended)
}

/// The id of the function at an address, if no other function of the host has it.
fn of_address(text: &str, pci: &Pci) -> Option<String> {
    let address = Address::parse(text)?;
    let ids = pci.get(&address)?.ids.known()?;
    let same = pci.functions.iter().filter(|f| f.ids.known() == Some(ids)).count();
    (same == 1).then(|| ids.to_string())
}

fn is_there(id: &str, pci: &Pci) -> bool {
    pci.functions.iter().any(|f| f.ids.known().is_some_and(|ids| ids.to_string().eq_ignore_ascii_case(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::healthy;
    use proptest::prelude::*;

    #[test]
    fn what_was_meant() {
        let pci = healthy().pci;
        for (value, expected) in [
            ("10de:2684,10de:22ba", Some("10de:2684,10de:22ba")),
            ("10DE:2684,", Some("10DE:2684,")),
            ("10de:2684;10de:22ba", Some("10de:2684,10de:22ba")),
            ("10de:2684, 10de:22ba", Some("10de:2684,10de:22ba")),
            ("10de,2684", Some("10de:2684")),
            ("10de,1111", None),
            ("xxxx:xxxx,10de:22ba", Some("10de:22ba")),
            ("<vendor-id>,<device-id>", None),
            ("01:00.0,10de:22ba", Some("10de:2684,10de:22ba")),
            ("7f:00.0", None),
            ("RTX4090", None),
            ("10de:2684,10de:2684;10de:22ba", Some("10de:2684,10de:22ba")),
        ] {
            assert_eq!(mended(value, &pci, |_| false).as_deref(), expected, "{value}");
        }
        assert_eq!(mended("10de:2684,8086:7ae2", &pci, |id| id == "8086:7ae2").as_deref(), Some("10de:2684"));
        assert_eq!(mended(&"10de:2684,".repeat(200), &pci, |_| false).as_deref(), Some("10de:2684"));
    }

    proptest! {
        #[test]
        fn once_is_enough(value in "([0-9a-fx:;., <>-]{0,12},?){0,6}") {
            let pci = healthy().pci;
            if let Some(once) = mended(&value, &pci, |_| false) {
                prop_assert!(vfio_ids::parse(&once).iter().all(|item| item.fault.is_none()), "{}", once);
                prop_assert_eq!(mended(&once, &pci, |_| false), Some(once));
            }
        }
    }
}
