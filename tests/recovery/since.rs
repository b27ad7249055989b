//! What others did between a transaction and its way back: file systems not mounted, kernels that came or went, devices in use.

use super::*;

/// The same path in another tree position: as if a file system were not mounted, or mounted again.
fn move_dir(world: &World, from: &str, to: &str) {
    std::fs::rename(world.at(from), world.at(to)).unwrap();
}

#[test]
fn what_boots_is_not_mounted() {
    let (first, _) = both();
    for (work, case) in [(None, "applied"), (Some(150), "interrupted")] {
        let world = World::new();
        let plan = world.plan();
        match work {
            None => drop(apply(&world.open(), &plan).unwrap()),
            Some(most) => drop(apply(&world.host(Kill::after(most)), &plan)),
        }
        move_dir(&world, "/boot", "/not-mounted");
        let before = world.state();
        let journal = world.read("/var/lib/vfioneer/transactions/1/journal");
        // Nothing at all is there, or an empty directory.
        for _ in 0..2 {
            let error = roll_back(&world.open()).unwrap_err();
            assert!(error.exit_code() == 3 && error.hints[0].contains("mount /boot"), "{case}: {error}");
            assert_eq!(world.read("/var/lib/vfioneer/transactions/1/journal"), journal, "{case}");
            std::fs::create_dir_all(world.at("/boot")).unwrap();
        }
        std::fs::remove_dir(world.at("/boot")).unwrap();
        same(case, &world.state(), &before);
        move_dir(&world, "/not-mounted", "/boot");
        match work {
            None => drop(roll_back(&world.open()).unwrap()),
            Some(_) => assert_eq!(recover(&world.open()).unwrap(), [1]),
        }
        same(case, &world.state(), &first);
    }
}

#[test]
fn a_kernel_that_was_removed_since() {
    let (mut first, _) = both();
    let gone = |path: &str| path.starts_with("/boot/") && path.ends_with(&format!("-{}", KERNELS[0]));
    first.retain(|path, _| !gone(path) && !path.starts_with(&format!("/lib/modules/{}", KERNELS[0])));
    let remove = |world: &World| {
        std::fs::remove_dir_all(world.at(&format!("/lib/modules/{}", KERNELS[0]))).unwrap();
        for name in ["vmlinuz", "initrd.img"] {
            std::fs::remove_file(world.at(&format!("/boot/{name}-{}", KERNELS[0]))).unwrap();
        }
    };
    // Wherever apply ended, what it kept of the image goes, and nothing is in the way of the next command.
    for most in (17..200).step_by(7) {
        let world = World::new();
        let mut plan = world.plan();
        plan.steps.retain(|step| !matches!(&step.action, vfioneer::steps::Action::Run { fence: Some(_), .. }));
        drop(apply(&world.host(Kill::after(most)), &plan));
        remove(&world);
        let case = format!("ended at operation {most}");
        recover(&world.open()).unwrap_or_else(|error| panic!("{case}: {error} {:?}", error.hints));
        if rollback::choose(&world.open(), None).unwrap().is_some() {
            roll_back(&world.open()).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        same(&case, &world.state(), &first);
    }
}

#[test]
fn what_ran_after_an_image_that_is_gone_does_not_run_again() {
    let world = World::new();
    let mut plan = world.plan();
    let image = format!("/boot/initrd.img-{}", KERNELS[0]);
    let argv = world::words(&["afterwards", KERNELS[0], &image]);
    let action = vfioneer::steps::Action::Run { undo: argv.clone(), argv, touches: Vec::new(), fence: None };
    plan.steps.retain(|step| !matches!(step.action, vfioneer::steps::Action::Run { .. }));
    plan.steps.push(vfioneer::steps::Step { action, why: String::new() });
    apply(&world.open(), &plan).unwrap();
    std::fs::remove_dir_all(world.at(&format!("/lib/modules/{}", KERNELS[0]))).unwrap();
    std::fs::remove_file(world.at(&image)).unwrap();
    let done = roll_back(&world.open()).unwrap();
    assert!(done.left.is_empty(), "{done:?}");
}

/// Without links the second name of a file is a copy, and a power cut may leave the name of a new file with nothing in it.
#[test]
fn a_second_name_that_a_power_cut_left_empty() {
    let (first, _) = both();
    let mut seen = [0, 0];
    for most in 17..200 {
        let world = World::new();
        drop(apply(&world.host(Kill::after(most)), &world.plan()));
        let mut struck = false;
        for path in ["/boot/grub/.grub.cfg.vfioneer-old", "/boot/.initrd.img-6.1.0-1-amd64.vfioneer-old"] {
            if world.at(path).exists() {
                struck = true;
                std::fs::remove_file(world.at(path)).unwrap();
                world.write(path, "", 0o644);
                let now = world.state();
                let output = path.replace("/.", "/").replace(".vfioneer-old", "");
                seen[usize::from(now.get(&output) == first.get(&output))] += 1;
            }
        }
        if struck {
            let case = format!("ended at operation {most}");
            recover(&world.open()).unwrap_or_else(|error| panic!("{case}: {error}"));
            world.boots().unwrap_or_else(|what| panic!("{case}: {what}"));
            if rollback::choose(&world.open(), None).unwrap().is_none() {
                same(&case, &world.state(), &first);
            }
        }
    }
    assert!(seen[0] > 5 && seen[1] > 1, "{seen:?}");
}

#[test]
fn a_kernel_that_was_installed_since() {
    const LATER: &str = "6.1.0-3-amd64";
    let world = World::new();
    let word = "intel_iommu=on".to_owned();
    let mut plan = world.plan();
    plan.expect = vec![vfioneer::steps::Expectation::Entries { word, present: true }];
    apply(&world.open(), &plan).unwrap();
    let entry = format!("/boot/loader/entries/{LATER}.conf");
    world.write(&format!("/lib/modules/{LATER}/modules.dep"), "", 0o644);
    world.put(&format!("/boot/vmlinuz-{LATER}"), &world::kernel(LATER), 0o600);
    world.put(&format!("/boot/initrd.img-{LATER}"), &world::image(LATER, Some(CLAIMS)), 0o644);
    let text = world.read(&format!("/boot/loader/entries/{}.conf", KERNELS[1]));
    world.write(&entry, &text.replace(KERNELS[1], LATER), 0o644);
    let done = roll_back(&world.open()).unwrap();
    // The command copied the image that was made again, not the one before.
    let claims = |path: &str| world.read(path).contains("vfioneer");
    assert!(!claims(&format!("/boot/initrd.img-{LATER}")) && !claims(&format!("/efi/EFI/x/{LATER}/initrd")));
    // Its entry is not vfioneer's, and says what it was made with.
    assert_eq!(done.left.len(), 1, "{done:?}");
    assert!(done.left[0].path == entry && done.left[0].matters, "{done:?}");
    assert!(done.left[0].reason.contains("intel_iommu=on"), "{done:?}");
}

#[test]
fn a_file_that_somebody_writes_while_it_is_kept() {
    let world = World::new();
    let path = world.at("/etc/default/grub");
    let deed = Box::new(move || std::fs::write(&path, "WORDS=\"mine\"\n").unwrap());
    let gate = Rc::new(Meddle { at: "/before/.2.vfioneer-new", deed, done: Cell::new(false) });
    let error = apply(&world.host(gate), &world.plan()).unwrap_err();
    assert!(error.exit_code() == 4 && error.message.contains("changed meanwhile"), "{error}");
    assert_eq!(world.read("/etc/default/grub"), "WORDS=\"mine\"\n");
}

#[test]
fn a_directory_that_went_with_its_package() {
    let (first, _) = both();
    let world = applied_world();
    std::fs::remove_dir(world.at("/etc/modprobe.d")).unwrap();
    let done = roll_back(&world.open()).unwrap();
    assert!(done.left.is_empty(), "{done:?}");
    same("rolled back", &world.state(), &first);
}

#[test]
fn a_device_that_is_in_use_is_not_taken_from_it() {
    let world = applied_world();
    let gpu = "/sys/bus/pci/devices/0000:01:00.0";
    for (name, text) in [("vendor", "0x10de"), ("device", "0x2684"), ("class", "0x030000")] {
        world.write(&format!("{gpu}/{name}"), &format!("{text}\n"), 0o444);
    }
    std::os::unix::fs::symlink("../../../../kernel/iommu_groups/14", world.at(&format!("{gpu}/iommu_group"))).unwrap();
    world.write("/proc/900/comm", "qemu-system-x86\n", 0o444);
    std::fs::create_dir_all(world.at("/proc/900/fd")).unwrap();
    std::os::unix::fs::symlink("/dev/vfio/14", world.at("/proc/900/fd/3")).unwrap();
    let before = world.state();
    let error = roll_back(&world.open()).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.message.contains("0000:01:00.0") && error.message.contains("qemu-system-x86 (pid 900)"), "{error}");
    same("refused", &world.state(), &before);
    // In another boot nothing is handed back.
    world.reboot();
    assert!(roll_back(&world.open()).unwrap().reboot);
}

#[test]
fn finishing_what_was_being_rolled_back_says_what_was_left() {
    for most in (20..200).step_by(20) {
        let world = applied_world();
        world.write("/etc/default/grub", "WORDS=\"mine\"\n", 0o644);
        drop(roll_back(&world.host(Kill::after(most))));
        world.reboot();
        let host = world.open();
        let recovered = session(&host).unwrap().recover(&mut |_| ()).unwrap();
        let Some(one) = recovered.first() else { continue };
        assert!(one.rollback && one.is_incomplete() && one.done.reboot, "{most}: {recovered:?}");
        assert_eq!(one.done.left[0].path, "/etc/default/grub", "{most}");
    }
}
