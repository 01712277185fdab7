//! The actors: one for each owner of packages, which alone decides about that owner's names.

pub mod policy;
pub mod precondition;

pub use policy::{Policy, PolicyTable};
pub use precondition::WriteCondition;
