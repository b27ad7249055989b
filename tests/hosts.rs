//! Every constructed host says what it must, and nothing that it must not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "support/hosts/mod.rs"]
mod hosts;

#[test]
fn every_host_file_makes_a_tree() {
    for name in hosts::names() {
        let tree = hosts::tree(&hosts::load(&name));
        assert!(tree.contains_key("/proc/cmdline"), "{name}");
    }
}
