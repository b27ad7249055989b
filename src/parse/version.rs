//! Order of kernel releases such as `6.8.12-4-pve`. Pure.

use std::cmp::Ordering;

/// Compares two releases: runs of digits as numbers, the rest as text, `rc` and `~` before everything.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (parts(a), parts(b));
    loop {
        let (x, y) = (left.next(), right.next());
        if x.is_none() && y.is_none() {
            return a.cmp(b);
        }
        match rank(x).cmp(&rank(y)) {
            Ordering::Equal => {}
            other => return other,
        }
    }
}

/// A comparable stand-in: pre-release words < end < words < numbers.
fn rank(part: Option<&str>) -> (u8, usize, &str) {
    match part {
        Some(part) if part.starts_with("rc") || part == "~" => (0, 0, part),
        None => (1, 0, ""),
        Some(part) if part.starts_with(|c: char| c.is_ascii_digit()) => {
            let digits = part.trim_start_matches('0');
            (3, digits.len(), digits)
        }
        Some(part) => (2, 0, part),
    }
}

/// Splits into runs of digits and of letters; separators but `~` are dropped.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '~');
        let first = rest.chars().next()?;
        let end = if first == '~' {
            1
        } else {
            let same = |c: char| c.is_alphanumeric() && c.is_ascii_digit() == first.is_ascii_digit();
            rest.find(|c: char| !same(c)).unwrap_or(rest.len())
        };
        let (part, tail) = rest.split_at(end);
        rest = tail;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn newest_last() {
        let sorted = [
            "5.15.0-91-generic",
            "6.1.0-9-amd64",
            "6.1.0-18-amd64",
            "6.5.13-6-pve",
            "6.8.0-rc7",
            "6.8.0-31-generic",
            "6.8.4-2-pve",
            "6.8.12-4-pve",
            "6.14.0-1-pve",
        ];
        for pair in sorted.windows(2) {
            assert!(compare(pair[0], pair[1]).is_lt(), "{pair:?}");
            assert!(compare(pair[1], pair[0]).is_gt(), "{pair:?}");
        }
        assert!(compare("6.12~rc1", "6.12").is_lt());
        assert!(compare("6.1", "6.01").is_ne(), "a total order");
        assert!(compare("", "").is_eq());
    }
}
