//! The pages of findings about single devices. Text only.

macro_rules! pages {
    ($($id:literal),* $(,)?) => { &[$(($id, include_str!(concat!($id, "/en.md")))),*] };
}

/// The source texts by id.
pub(super) const PAGES: &[(&str, &str)] = pages![];
