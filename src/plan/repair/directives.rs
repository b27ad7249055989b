//! Lines of modprobe.d: those that do nothing go, ids are written as they were meant.

use super::text::Texts;
use super::{at_lines, by_identity, every_kernel, ids, value, why};
use crate::checks::{Finding, intent, modprobe_line_ignored::is_admins, words};
use crate::facts::Evidence;
use crate::facts::modules::Directive;
use crate::parse::cmdline::Cmdline;
use crate::parse::modprobe::module_name;
use crate::parse::word_edit;
use crate::plan::case::Case;

/// What becomes of one directive.
enum Now {
    Removed,
    Comment,
    /// All behind the module.
    Rest(String),
}

/// Mends all directives.
pub(super) fn mend(case: &Case<'_>, texts: &mut Texts) {
    for directive in &case.snap.modules.directives {
        let path = words::directive_path(case.snap, directive);
        if !is_admins(path) {
            continue;
        }
        let mut now = Now::Rest(directive.rest.clone());
        let mut reasons: Vec<&Finding> = Vec::new();
        for finding in about(case, path, directive) {
            let Now::Rest(rest) = &now else { break };
            if let Some(next) = change(case, finding, directive, path, rest) {
                reasons.push(finding);
                now = next;
            }
        }
        write(case, texts, directive, &now, &reasons);
    }
}

/// The findings that are about a directive, whether as their subject or as further evidence.
fn about<'a>(case: &'a Case<'_>, path: &'a str, directive: &'a Directive) -> impl Iterator<Item = &'a Finding> {
    let here = move |evidence: &Evidence| evidence.source == path && evidence.line == Some(directive.line);
    case.findings.iter().filter(move |finding| finding.evidence.iter().any(here))
}

fn change(case: &Case<'_>, finding: &Finding, directive: &Directive, path: &str, rest: &str) -> Option<Now> {
    match finding.id {
        "modprobe-line-ignored" => ignored(case, finding, directive, rest),
        "ids-malformed" if directive.word == "options" => with_ids(case, rest, |_| false),
        "ids-take-too-much" if by_identity(case) => with_ids(case, rest, |id| id == value(finding, "ids")),
        "config-line-duplicated" => duplicated(finding, directive, path, rest),
        "blacklist-too-wide" if by_identity(case) => Some(Now::Removed),
        _ => None,
    }
}

fn ignored(case: &Case<'_>, finding: &Finding, directive: &Directive, rest: &str) -> Option<Now> {
    let strip = |option: &str| {
        let texts: Vec<String> = options(rest, option);
        let left = word_edit::without(rest, 0..rest.len(), &texts);
        Some(if left.trim().is_empty() { Now::Removed } else { Now::Rest(left) })
    };
    match finding.variant {
        "blacklist-wildcard" => Some(Now::Removed),
        "blacklist-more" => Some(Now::Rest(String::new())),
        "builtin" | "softdep-builtin" => builtin_everywhere(case, directive).then_some(Now::Removed),
        "removed" | "unknown-option" => strip(value(finding, "option")),
        "disable-vga-missing" => strip("disable_vga"),
        // Written right, it would still do nothing.
        "softdep-no-blank" | "softdep-no-pre" if builtin_everywhere(case, directive) => Some(Now::Removed),
        "softdep-no-blank" => Some(Now::Rest(rest.replace("pre:", "pre: ").replace("post:", "post: "))),
        "softdep-no-pre" => Some(Now::Rest(format!("pre: {rest}"))),
        "no-directive" => Some(Now::Comment),
        _ => None,
    }
}

/// A line that only the running kernel ignores may count with another one.
fn builtin_everywhere(case: &Case<'_>, directive: &Directive) -> bool {
    let module = module_name(&directive.module);
    every_kernel(case, |kernel| {
        let built = kernel.builtin.known().is_some_and(|all| all.contains(&module));
        let drm = module == "drm" && kernel.config.known().is_some_and(|all| all.get("DRM").is_some_and(|v| v == "y"));
        built || drm
    })
}

/// The options of this name, as written.
fn options(rest: &str, name: &str) -> Vec<String> {
    Cmdline::parse(rest).all(name).map(|word| word.text.to_owned()).collect()
}

/// The rest of an options line with its ids mended; nothing left of them means that the line is only for a person to read.
fn with_ids(case: &Case<'_>, rest: &str, dropped: impl Fn(&str) -> bool) -> Option<Now> {
    let line = Cmdline::parse(rest);
    let list = line.find("ids")?;
    // Ids behind a blank belong to the list.
    let is_id = |text: &str| crate::parse::vfio_ids::parse(text).iter().any(|item| item.spec.is_some());
    let behind = line.words.iter().filter(|word| word.range.start > list.range.start);
    let strays: Vec<_> = behind.take_while(|word| word.value.is_none() && is_id(word.text)).collect();
    let end = strays.last().map_or(list.range.end, |word| word.range.end);
    let given = list.value.unwrap_or_default();
    let parts = [given].into_iter().chain(strays.iter().map(|word| word.text));
    let value = parts.map(|part| part.trim_matches(',')).collect::<Vec<_>>().join(",");
    let value = if strays.is_empty() { given } else { &value };
    let name = list.text.split('=').next().unwrap_or("ids");
    match ids::mended(value, &case.snap.pci, dropped) {
        Some(mended) if mended == given && strays.is_empty() => None,
        Some(mended) => {
            let (front, back) = (rest.get(..list.range.start)?, rest.get(end..)?);
            Some(Now::Rest(format!("{front}{name}={mended}{back}")))
        }
        None => {
            let front = rest.get(..list.range.start)?.trim_end();
            let left = format!("{front}{}", rest.get(end..)?);
            Some(if left.trim().is_empty() { Now::Comment } else { Now::Rest(left.trim_start().to_owned()) })
        }
    }
}

/// Of equal lines the first stays; of an option that is set twice the last.
fn duplicated(finding: &Finding, directive: &Directive, path: &str, rest: &str) -> Option<Now> {
    let here = |evidence: &Evidence| evidence.source == path && evidence.line == Some(directive.line);
    match finding.variant {
        "same" => (!finding.evidence.first().is_some_and(here)).then_some(Now::Removed),
        "ids" | "option" if directive.word == "options" => {
            let option = value(finding, "what").rsplit('.').next()?;
            let mut all = options(rest, option);
            if finding.evidence.last().is_some_and(here) {
                let last = all.pop();
                all.retain(|text| Some(text) != last.as_ref());
            }
            let left = word_edit::without(rest, 0..rest.len(), &all);
            (!all.is_empty()).then(|| if left.trim().is_empty() { Now::Removed } else { Now::Rest(left) })
        }
        _ => None,
    }
}

fn write(case: &Case<'_>, texts: &mut Texts, directive: &Directive, now: &Now, reasons: &[&Finding]) {
    let Some(file) = case.snap.modules.files.get(directive.file) else { return };
    let text = file.text.get(directive.range.clone()).unwrap_or_default();
    let Some(first) = reasons.first() else { return };
    match now {
        Now::Removed => texts.remove_lines(file, &directive.range, first),
        Now::Comment => texts.comment_out(file, &directive.range, first),
        Now::Rest(rest) => {
            // A line that goes on in the next is written as one.
            let kept = text.rfind(directive.rest.as_str()).filter(|_| !directive.rest.is_empty());
            let head = kept.and_then(|at| text.get(..at)).map(str::to_owned);
            let head = head.unwrap_or_else(|| format!("{} {} ", directive.word, directive.module));
            let end = if text.ends_with('\r') { "\r" } else { "" };
            let line = format!("{}{end}", format!("{head}{rest}").trim_end());
            texts.replace(file, directive.range.clone(), &line, first);
        }
    }
    for finding in reasons.iter().skip(1) {
        texts.also(&file.path, why(finding));
    }
}

/// The ids of this host's configuration that take too much, as their findings name them.
pub(super) fn too_much<'a>(case: &'a Case<'_>) -> Vec<&'a str> {
    let wanted = by_identity(case);
    let found = at_lines(case, "ids-take-too-much").filter(|_| wanted).map(|(finding, ..)| value(finding, "ids"));
    found.filter(|id| intent::claims(case.snap).iter().any(|claim| claim.text == *id)).collect()
}
