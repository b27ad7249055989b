//! Writes a constructed host's files to a directory: `cargo run --example host -- NAME DIR`, then
//! `vfioneer --root DIR`. Without arguments: the names of all constructed hosts.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, clippy::expect_used, dead_code)]

#[path = "../tests/support/hosts/mod.rs"]
mod hosts;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => println!("{}", hosts::names().join("\n")),
        [name, dir] => {
            let tree = hosts::tree(&hosts::load(name));
            hosts::write(&tree, std::path::Path::new(dir)).expect("the directory can be written and is empty");
            println!("{} paths in {dir}", tree.len());
        }
        _ => eprintln!("usage: cargo run --example host -- [NAME DIR]"),
    }
}
