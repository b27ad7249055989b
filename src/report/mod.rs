//! Text and JSON of the same values. Goes in: snapshots and findings. Comes out: what stdout gets.
