//! A hook that was copied into a container: it is gone when the container is made anew.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;

pub(super) const CHECK: Check = Check { ids: &["hook-in-container-layer"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let lost = |path: &String| {
        let mut finding = Finding::new("hook-in-container-layer", Severity::Warning, Subject::File(path.clone()))
            .value("path", path.clone());
        finding.evidence.push(Evidence::new(path.clone(), "present"));
        finding
    };
    ctx.snap.hypervisor.layer_hooks.iter().map(lost).collect()
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;

    #[test]
    fn what_is_in_a_layer() {
        let mut snap = healthy();
        assert!(check(&snap).is_empty());
        snap.hypervisor.layer_hooks.push("/var/lib/docker/overlay2/ab/diff/etc/libvirt/hooks/qemu".into());
        assert_eq!(only(&check(&snap), "hook-in-container-layer").len(), 1);
    }
}
