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
    row(chain).map_or_else(String::new, |row| row.command.replace("{words}", missing))
}

/// Lines for a person who gives words to a chain that has no file of words; none for other chains.
pub fn words_by_hand(chain: Chain, words: &[String]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let fill = |line: &String| line.replace("{quoted}", &quoted.join(" ")).replace("{listed}", &quoted.join(", "));
    row(chain).map_or_else(Vec::new, |row| row.by_hand.iter().map(fill).collect())
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
    }
}
