//! Conditions that a client puts on a write (API.md §4, RFC 9110 §13).

use crate::chunk::Digest;
use crate::store::model::{File, Millis};

/// Conditions on the file that stands under the name now. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteCondition {
    /// `If-Match`.
    pub if_match: Option<EtagSet>,
    /// `If-None-Match`.
    pub if_none_match: Option<EtagSet>,
    /// `If-Unmodified-Since`, whole seconds; counts only without `if_match`.
    pub if_unmodified_since: Option<Millis>,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagSet {
    /// `*`
    Any,
    /// The strong tags of the list that can be ours; others match nothing.
    Tags(Vec<Digest>),
}

impl WriteCondition {
    /// Whether a write may go on, given what is there.
    pub fn holds(&self, current: Option<&File>) -> bool {
        let _ = current;
        todo!()
    }
}
