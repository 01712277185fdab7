//! Background work, in small steps with a pace. Collection, scrub and retention move in here.

pub mod scrubber;
