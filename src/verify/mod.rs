//! Is every expectation of a plan true now?
//!
//! Goes in: expectations and a fresh snapshot. Comes out: which hold, which don't and the likely reason, which cannot be known.
