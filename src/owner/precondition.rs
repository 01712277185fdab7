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
        let match_holds = match &self.if_match {
            Some(tags) => current.is_some_and(|file| tags.contain(file)),
            None => self.unmodified(current),
        };
        let none_match_holds = match &self.if_none_match {
            Some(tags) => !current.is_some_and(|file| tags.contain(file)),
            None => true,
        };
        match_holds && none_match_holds
    }

    /// A name without a file has no modification date, and the header then does not count.
    fn unmodified(&self, current: Option<&File>) -> bool {
        match (self.if_unmodified_since, current) {
            (Some(since), Some(file)) => file.created.div_euclid(1000) <= since.div_euclid(1000),
            _ => true,
        }
    }
}

impl EtagSet {
    fn contain(&self, file: &File) -> bool {
        match self {
            EtagSet::Any => true,
            EtagSet::Tags(tags) => tags.contains(&file.blob),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::Shape;

    fn file(body: &[u8], created: Millis) -> File {
        File {
            id: 1,
            name: "f".into(),
            blob: Digest::of(body),
            size: body.len() as u64,
            shape: Shape::Single,
            created,
            creator: 1,
            sha256: None,
        }
    }

    fn tags(bodies: &[&[u8]]) -> Option<EtagSet> {
        Some(EtagSet::Tags(
            bodies.iter().map(|body| Digest::of(body)).collect(),
        ))
    }

    #[test]
    fn without_conditions_every_write_may_go_on() {
        assert!(WriteCondition::default().holds(None));
        assert!(WriteCondition::default().holds(Some(&file(b"a", 0))));
    }

    #[test]
    fn if_match_wants_this_very_file() {
        let holds = |if_match, current: Option<&File>| {
            let condition = WriteCondition {
                if_match,
                ..Default::default()
            };
            condition.holds(current)
        };
        let a = file(b"a", 0);
        assert!(holds(tags(&[b"b", b"a"]), Some(&a)));
        assert!(!holds(tags(&[b"b"]), Some(&a)));
        assert!(!holds(tags(&[]), Some(&a)));
        assert!(!holds(tags(&[b"a"]), None));
        assert!(holds(Some(EtagSet::Any), Some(&a)));
        assert!(!holds(Some(EtagSet::Any), None));
    }

    #[test]
    fn if_none_match_wants_any_other_file_or_none() {
        let holds = |if_none_match, current: Option<&File>| {
            let condition = WriteCondition {
                if_none_match,
                ..Default::default()
            };
            condition.holds(current)
        };
        let a = file(b"a", 0);
        assert!(!holds(Some(EtagSet::Any), Some(&a)));
        assert!(holds(Some(EtagSet::Any), None));
        assert!(!holds(tags(&[b"b", b"a"]), Some(&a)));
        assert!(holds(tags(&[b"b"]), Some(&a)));
        assert!(holds(tags(&[b"a"]), None));
    }

    #[test]
    fn if_unmodified_since_compares_whole_seconds() {
        let condition = WriteCondition {
            if_unmodified_since: Some(5_000),
            ..Default::default()
        };
        assert!(condition.holds(Some(&file(b"a", 5_999))));
        assert!(!condition.holds(Some(&file(b"a", 6_000))));
        assert!(condition.holds(None));
    }

    #[test]
    fn if_match_makes_if_unmodified_since_idle() {
        let condition = WriteCondition {
            if_match: tags(&[b"a"]),
            if_unmodified_since: Some(0),
            ..Default::default()
        };
        assert!(condition.holds(Some(&file(b"a", 6_000))));
    }

    #[test]
    fn both_sides_must_hold() {
        let condition = WriteCondition {
            if_match: Some(EtagSet::Any),
            if_none_match: tags(&[b"a"]),
            ..Default::default()
        };
        assert!(!condition.holds(Some(&file(b"a", 0))));
        assert!(condition.holds(Some(&file(b"b", 0))));
    }
}
