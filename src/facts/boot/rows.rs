//! What a person runs and writes, by boot chain: the rows of `data/boot_chains.toml`.

use super::Chain;
use serde::Deserialize;
use std::sync::LazyLock;

#[derive(Deserialize)]
struct Row {
    chain: String,
    command: String,
    #[serde(default)]
    by_hand: Vec<String>,
    #[serde(default)]
    run: Vec<String>,
    #[serde(default)]
    initrd: Vec<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    source: String,
}

#[derive(Deserialize)]
struct Table {
    chain: Vec<Row>,
}

static CHAINS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let table = toml::from_str::<Table>(include_str!("../../../data/boot_chains.toml"));
    table.map(|table| table.chain).unwrap_or_default()
});

fn row(chain: Chain) -> Option<&'static Row> {
    CHAINS.iter().find(|row| row.chain == chain.id())
}

/// What makes the loader's files from the sources again; empty if nothing has to be run.
pub fn refresh_command(chain: Chain, missing: &str) -> String {
    let words: Vec<String> = missing.split_whitespace().map(str::to_owned).collect();
    row(chain).map_or_else(String::new, |row| fill(&row.command, &words))
}

/// Lines for a person who gives words to a chain that has no file of words; none for other chains.
pub fn words_by_hand(chain: Chain, words: &[String]) -> Vec<String> {
    row(chain).map_or_else(Vec::new, |row| row.by_hand.iter().map(|line| fill(line, words)).collect())
}

/// Lines with the commands that a person runs after that; none for a chain that needs none.
pub fn commands_by_hand(chain: Chain, words: &[String]) -> Vec<String> {
    let row = row(chain);
    // Without a word there is nothing for its command to do.
    let lines = row.into_iter().flat_map(|row| row.run.iter());
    lines.filter(|line| !words.is_empty() || !line.contains("rpm-ostree")).map(|line| fill(line, words)).collect()
}

/// Lines that have the initrd of a chain take devices by their ids; none where files are put into it.
pub fn initrd_by_hand(chain: Chain) -> Vec<String> {
    row(chain).map_or_else(Vec::new, |row| row.initrd.clone())
}

fn fill(line: &str, words: &[String]) -> String {
    let each = |one: fn(&String) -> String, between: &str| words.iter().map(one).collect::<Vec<_>>().join(between);
    line.replace("{words}", &words.join(" "))
        .replace("{quoted}", &each(|word| format!("\"{word}\""), " "))
        .replace("{listed}", &each(|word| format!("\"{word}\""), ", "))
        .replace("{appended}", &each(|word| format!("--append-if-missing={word}"), " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_have_sources() {
        assert!(!CHAINS.is_empty());
        assert!(CHAINS.is_sorted_by(|a, b| a.chain < b.chain));
        assert!(CHAINS.iter().all(|row| row.source.starts_with("https://") && !row.command.is_empty()));
    }

    #[test]
    fn words_are_filled_in() {
        let words = ["intel_iommu=on".to_owned(), "iommu=pt".to_owned()];
        assert_eq!(
            words_by_hand(Chain::NixOs, &words)[1],
            "  boot.kernelParams = [ \"intel_iommu=on\" \"iommu=pt\" ];"
        );
        assert_eq!(words_by_hand(Chain::Bootc, &words)[1], "  kargs = [\"intel_iommu=on\", \"iommu=pt\"]");
        assert!(words_by_hand(Chain::Limine, &words).is_empty());
        assert_eq!(refresh_command(Chain::Kernelstub, "a b"), "kernelstub -a \"a b\"");
        assert_eq!(
            commands_by_hand(Chain::Bootc, &words)[3],
            "  rpm-ostree kargs --append-if-missing=intel_iommu=on --append-if-missing=iommu=pt"
        );
        assert_eq!(commands_by_hand(Chain::Bootc, &[]).len(), 2);
    }
}
