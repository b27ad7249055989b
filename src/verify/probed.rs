//! What opening a function through vfio said of it, told like an expectation.

use super::{Judged, Outcome, State};
use crate::parse::address::Address;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A VM can use it.
    Ready,
    /// It cannot.
    NotReady,
    /// It could not be tried.
    NotTried(String),
}

/// The outcome for a function.
pub fn probed(address: &Address, answer: &Answer) -> Outcome {
    let judged = match answer {
        Answer::Ready => Judged::holds("about-probe"),
        Answer::NotReady => Judged::fails("about-probe", "probe-failed"),
        Answer::NotTried(why) => Judged::new("about-probe", State::Unknown, "not-probed").value("why", why),
    };
    judged.value("address", address).outcome(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_a_sentence() {
        let address = Address::parse("0000:01:00.0").unwrap();
        for (answer, state, text) in [
            (Answer::Ready, State::Holds, ""),
            (Answer::NotReady, State::Fails, "Something of it does not work. `vfioneer probe 0000:01:00.0` says what."),
            (Answer::NotTried("VM 105 has it".into()), State::Unknown, "It was not opened: VM 105 has it."),
        ] {
            let outcome = probed(&address, &answer);
            assert_eq!(outcome.about, "0000:01:00.0 opens through vfio, and answers as a VM needs it.");
            assert_eq!((outcome.state, outcome.text.as_str()), (state, text));
        }
    }
}
