//! What an image lacks of what must be in it: one judgement for the plan, for the image that was just built, and for later.

use crate::facts::initramfs::Content;
use crate::facts::kernel::InstalledKernel;
use crate::facts::own;
use crate::parse::modprobe::module_name;
use crate::steps::sha256;

/// What is wrong with one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// A text is not in it.
    Missing(&'a str),
    /// A text in it is another.
    Differs(&'a str),
    /// A module is not in it, and not in its kernel either.
    Module(&'a str),
    /// The claim script is in it, and nothing runs it before udev.
    Late,
}

/// The faults of an image for a kernel, as of [`crate::steps::Product::Image`] and [`crate::steps::Expectation::Images`]: modules that the
/// kernel has built in are in no image.
pub fn faults<'a>(
    content: &Content,
    kernel: Option<&InstalledKernel>,
    modules: &'a [String],
    files: &'a [(String, String)],
) -> Vec<Fault<'a>> {
    let mut found = Vec::new();
    for (path, wanted) in files {
        match content.copy_of(path) {
            None => found.push(Fault::Missing(path)),
            Some(text) if sha256(text.as_bytes()) != *wanted => found.push(Fault::Differs(path)),
            Some(_) => {}
        }
    }
    let missing = |module: &&String| !content.has_module(module) && !is_builtin(kernel, module);
    found.extend(modules.iter().filter(missing).map(|module| Fault::Module(module)));
    let script = files.iter().any(|(path, _)| path == own::SCRIPT.trim_start_matches('/'));
    if script && found.is_empty() && !content.claims_before_udev() {
        found.push(Fault::Late);
    }
    found
}

/// True if a kernel is known to have a module built in.
pub(super) fn is_builtin(kernel: Option<&InstalledKernel>, module: &str) -> bool {
    let builtin = kernel.and_then(|kernel| kernel.builtin.known());
    builtin.is_some_and(|builtin| builtin.contains(&module_name(module)))
}
