//! Claims from facts.

use super::*;
use crate::checks::testing::{at, function};

fn pci(mut functions: Vec<Function>) -> Pci {
    functions.sort_by_key(|function| function.address);
    Pci { functions, missing: None }
}

fn below(mut function: Function, parent: &str) -> Function {
    function.parent = Fact::Known(at(parent));
    function
}

fn card(port: &str, address: &str) -> Vec<Function> {
    vec![function(port, "8086:4c01", 0x060400), below(function(address, "10de:2684", 0x030000), port)]
}

#[test]
fn a_card_alone() {
    let pci = pci(card("0000:00:01.0", "0000:01:00.0"));
    let made = claims(&pci, &[at("0000:01:00.0")]).unwrap();
    let line = "0000:01:00.0 vfio-pci 10de 2684 1043 8888 0000:00/01.0/00.0 - no";
    assert_eq!(made.iter().map(ToString::to_string).collect::<Vec<_>>(), [line]);
}

#[test]
fn serial_numbers_count_only_where_they_tell_twins_apart() {
    let mut functions = card("0000:00:01.0", "0000:01:00.0");
    functions.extend(card("0000:00:02.0", "0000:02:00.0"));
    let made = |own: Fact<String>, other: Fact<String>| {
        let mut functions = functions.clone();
        functions[1].serial = own;
        functions[3].serial = other;
        let made = claims(&pci(functions), &[at("0000:01:00.0")])?;
        Ok(made.into_iter().map(|claim| (claim.serial, claim.twins)).next().unwrap())
    };
    let number = |last: u8| Fact::Known(format!("00-01-02-03-04-05-06-{last:02x}"));
    let zeros = || Fact::Known("00-00-00-00-00-00-00-00".to_owned());
    let one = Some("00-01-02-03-04-05-06-01".to_owned());
    assert_eq!(made(number(1), number(2)), Ok((one.clone(), true)));
    assert_eq!(made(number(1), Fact::Absent), Ok((one, true)));
    assert_eq!(made(number(1), number(1)), Ok((None, true)));
    assert_eq!(made(number(1), Fact::Unknown(Why::NotPermitted)), Ok((None, true)));
    assert_eq!(made(zeros(), number(2)), Ok((None, true)));
    assert_eq!(made(Fact::Absent, number(2)), Ok((None, true)));
    let root_needed = NotClaimable::Unknown(at("0000:01:00.0"), Why::NotPermitted);
    assert_eq!(made(Fact::Unknown(Why::NotPermitted), number(2)), Err(root_needed));
}

#[test]
fn ports_of_one_card_are_no_twins() {
    let mut functions = card("0000:00:01.0", "0000:01:00.0");
    functions.push(below(function("0000:01:00.1", "10de:2684", 0x030000), "0000:00:01.0"));
    let made = claims(&pci(functions), &[at("0000:01:00.1"), at("0000:01:00.0"), at("0000:01:00.1")]).unwrap();
    assert_eq!(
        made.iter().map(|claim| (claim.address.function, claim.twins)).collect::<Vec<_>>(),
        [(0, false), (1, false)]
    );
}

#[test]
fn what_cannot_be_claimed() {
    let mut functions = card("0000:00:01.0", "0000:01:00.0");
    functions[1].physical = Fact::Known(at("0000:02:00.0"));
    let address = at("0000:01:00.0");
    assert_eq!(claims(&pci(functions.clone()), &[address]), Err(NotClaimable::Virtual(address)));
    assert_eq!(claims(&pci(Vec::new()), &[address]), Err(NotClaimable::Gone(address)));
    functions[1].physical = Fact::Absent;
    functions[0].parent = Fact::Unknown(Why::NotRead);
    assert_eq!(claims(&pci(functions.clone()), &[address]), Err(NotClaimable::Unknown(address, Why::NotRead)));
    functions[0].parent = Fact::Absent;
    functions[1].subsystem = Fact::Absent;
    let made = claims(&pci(functions.clone()), &[address]).unwrap();
    assert_eq!(made[0].subsystem, None);
    functions[1].ids = Fact::Unknown(Why::NotRead);
    assert!(claims(&pci(functions), &[address]).is_err());
}

#[test]
fn drivers_and_their_modules() {
    assert_eq!((driver_of("vfio_pci"), driver_of("mlx5_vfio_pci")), ("vfio-pci", "mlx5_vfio_pci"));
    let mut functions = card("0000:00:01.0", "0000:01:00.0");
    functions[1].candidates = Fact::Known(vec!["nouveau".into(), "nvidiafb".into()]);
    functions[1].driver = Fact::Known("nouveau".into());
    assert_eq!(natives(&functions[1]), ["nouveau", "nvidiafb"]);
    functions[1].driver = Fact::Known("vfio-pci".into());
    functions[1].candidates = Fact::Known(vec!["vfio_pci".into(), "nouveau".into()]);
    assert_eq!(natives(&functions[1]), ["nouveau"]);
}
