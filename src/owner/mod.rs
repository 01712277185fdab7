//! The actors: one for each owner of packages, which alone decides about that owner's names.
//!
//! [`Owners`] is the door. Behind it the [`directory`] finds or starts an owner's [`actor`], which looks at what is
//! committed ([`names`]) and at what is under way ([`tentative`]), lets a plain function [`decide`], and hands the
//! change to the store. The answer names the commit it depends on, and the asker waits for that one, not the actor.

pub mod actor;
pub mod decide;
pub mod directory;
pub mod gate;
pub mod messages;
mod metrics;
pub mod names;
mod owners;
pub mod pattern;
pub mod policy;
pub mod precondition;
pub mod quota;
pub mod rules;
pub mod tentative;

#[cfg(test)]
mod expendable_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod quota_tests;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;

pub use owners::{Options, OwnerError, Owners};
pub use pattern::{Pattern, PatternError};
pub use policy::{Policy, PolicyTable};
pub use precondition::{EtagSet, WriteCondition};
pub use quota::Limits;
pub use rules::Rules;
