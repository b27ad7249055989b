//! Files that a tool makes: under a temporary name, looked into, then renamed into place. At every moment the old or the new one is there,
//! whole. The old one keeps a second name until the transaction ends.

use super::checks::is_for_kernel;
use super::execute::{Did, Failure, Work, stamp};
use super::files::parent;
use super::journal::{Before, Left, Progress, Record};
use super::product;
use crate::host::HostMut;
use crate::host::change::{kept, temporary};
use crate::steps::Product;

/// What stands for the temporary path in a command.
const OUT: &str = "{out}";

/// Generates a file.
pub(super) fn generate(work: &mut Work<'_>, step: usize, argv: &[String], output: &str, product: &Product) -> Did {
    let real = real(work.host, output)?;
    let before = stamp(work.host, &real)?;
    work.intent(step, Before { output: before, ..Before::default() })?;
    let new = make(work, argv, &real, product, true, &step.to_string())?;
    let Some(made) = stamp(work.host, &new)? else { return Err(Failure::new(format!("{new} is gone"))) };
    work.note(&Record::Product { step, stamp: made })?;
    if before.is_some() {
        let old = kept(&real);
        work.host.keep(&real, &old).map_err(|error| Failure::io(&format!("cannot keep {output}"), &error))?;
    }
    put(work.host, &new, &real, as_before(product))?;
    work.note(&Record::Done { step, after: Vec::new() })
}

/// Has the tool make a file beside `output`, and looks into it.
fn make(
    work: &mut Work<'_>,
    argv: &[String],
    output: &str,
    product: &Product,
    strict: bool,
    name: &str,
) -> Did<String> {
    clean(work.host, output)?;
    let new = temporary(output);
    let argv: Vec<String> = argv.iter().map(|word| word.replace(OUT, &new)).collect();
    let made = work.run(&argv, name).and_then(|_| {
        product::check(work.host, &new, product, strict)
            .map_err(|failure| Failure { why: format!("`{}`: {}", argv.join(" "), failure.why), ..failure })
    });
    if made.is_err() {
        // It is in nobody's way; the failure counts.
        let _ = clean(work.host, output);
    }
    made.map(|()| new)
}

fn put(host: &dyn HostMut, new: &str, output: &str, as_before: bool) -> Did {
    host.rename(new, output, as_before).map_err(|error| Failure::io(&format!("cannot put {output} in place"), &error))
}

/// An image's mode is the generator's setting; grub-mkconfig gives a new file mode 0600 and counts on the old one's.
fn as_before(product: &Product) -> bool {
    matches!(product, Product::GrubConfig { .. })
}

/// Undoes generating, in a transaction that did not come to its end: the old file is still there.
pub(super) fn put_back(
    work: &mut Work<'_>,
    argv: &[String],
    output: &str,
    product: &Product,
    progress: &Progress,
) -> Did<Vec<Left>> {
    let Some(before) = &progress.before else { return Ok(Vec::new()) };
    let Some(real) = found(work.host, output)? else { return Ok(Vec::new()) };
    clean(work.host, &real)?;
    let (now, old) = (stamp(work.host, &real)?, kept(&real));
    let second = stamp(work.host, &old)?;
    let new = now.is_some() && now == progress.product;
    // The old file is kept before the new one takes its place.
    let untouched = now == before.output && (!new || second.is_none());
    // Where there are no links the second name is a copy, which a power cut may have left empty.
    let whole = second.is_some() && second.map(|second| second.size) == before.output.map(|before| before.size);
    if whole && !untouched && (new || now.is_none() && is_for_kernel(work.host, product)) {
        return put(work.host, &old, &real, false).map(|()| Vec::new());
    }
    if new && before.output.is_none() {
        work.host.remove(&real).map_err(|error| Failure::io(&format!("cannot remove {output}"), &error))?;
    } else if !untouched && (now.is_some() || is_for_kernel(work.host, product)) {
        // Somebody generated it since, with files that are undone now.
        again(work, argv, output, product)?;
    }
    work.host.remove(&old).map_err(|error| Failure::io(&format!("cannot remove {old}"), &error))?;
    Ok(Vec::new())
}

/// Undoes generating later: the file is made from the configuration that was brought back.
pub(super) fn back_again(
    work: &mut Work<'_>,
    argv: &[String],
    output: &str,
    product: &Product,
    progress: &Progress,
) -> Did<Vec<Left>> {
    let Some(before) = &progress.before else { return Ok(Vec::new()) };
    let Some(real) = found(work.host, output)? else { return Ok(Vec::new()) };
    let now = stamp(work.host, &real)?;
    if now.is_none() {
        // Its kernel was removed since (`checks::check_mounted`).
        clean(work.host, &real)?;
    } else if before.output.is_none() {
        clean(work.host, &real)?;
        if now != progress.product {
            let reason = "was made anew since; before, there was no such file".to_owned();
            return Ok(vec![Left { path: output.to_owned(), reason, matters: true }]);
        }
        work.host.remove(&real).map_err(|error| Failure::io(&format!("cannot remove {output}"), &error))?;
    } else {
        again(work, argv, output, product)?;
    }
    Ok(Vec::new())
}

/// Generates a file as the configuration now says.
pub(super) fn again(work: &mut Work<'_>, argv: &[String], output: &str, product: &Product) -> Did {
    let real = real(work.host, output)?;
    let name = format!("undo{}", real.replace('/', "-"));
    let new = make(work, argv, &real, product, false, &name)?;
    put(work.host, &new, &real, as_before(product))
}

/// Removes what an interrupted tool left beside its output: tools add endings of their own to the name that they are given.
pub(super) fn clean(host: &dyn HostMut, output: &str) -> Did {
    let new = temporary(output);
    let dir = parent(output);
    let start = new.rsplit('/').next().unwrap_or_default();
    let half_kept = temporary(&kept(output));
    host.remove(&half_kept).map_err(|error| Failure::io(&format!("cannot remove {half_kept}"), &error))?;
    for name in host.entries(if dir.is_empty() { "/" } else { dir }).into_known().unwrap_or_default() {
        if name.starts_with(start) {
            let path = format!("{dir}/{name}");
            host.remove(&path).map_err(|error| Failure::io(&format!("cannot remove {path}"), &error))?;
        }
    }
    Ok(())
}

pub(super) fn real(host: &dyn HostMut, output: &str) -> Did<String> {
    host.real(output).map_err(|error| Failure::io(&format!("cannot find {output}"), &error))
}

/// The same; `None` if its directory is not there.
fn found(host: &dyn HostMut, output: &str) -> Did<Option<String>> {
    match host.real(output) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(&format!("cannot find {output}"), &error)),
        Ok(real) => Ok(Some(real)),
    }
}
