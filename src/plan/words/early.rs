//! Words that have the initramfs load vfio-pci before udev, where the image itself cannot say so.

use super::{Case, Word};
use crate::adapters::initramfs;

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    if case.chosen.is_empty() || case.adopted.is_some() {
        return Vec::new();
    }
    initramfs::words(case.snap).into_iter().map(|word| Word::add(word, "early", &[])).collect()
}
