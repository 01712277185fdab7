//! Which keys there are: those of the defaults. The defaults name every key, so there is no second list to keep.

use std::collections::BTreeSet;

use config::{Map, Value, ValueKind};

/// The keys that the defaults only describe, since a commented-out table is all an example can be.
pub const LISTS: [&str; 2] = ["oidc", "policies"];

/// The keys of the defaults, dotted.
#[derive(Debug)]
pub struct Schema {
    sections: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl Schema {
    /// The schema of a defaults table: sections with keys in them.
    pub fn of(defaults: &Map<String, Value>) -> Self {
        let mut schema = Schema {
            sections: BTreeSet::new(),
            keys: LISTS.map(str::to_owned).into(),
        };
        for (section, value) in defaults {
            if let ValueKind::Table(table) = &value.kind {
                schema.sections.insert(section.clone());
                schema
                    .keys
                    .extend(table.keys().map(|key| format!("{section}.{key}")));
            }
        }
        schema
    }

    /// Whether `key` has a value (sections have none).
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Whether `key` is a section.
    pub fn is_section(&self, key: &str) -> bool {
        self.sections.contains(key)
    }

    /// The key or section that `wrong` was probably meant to be.
    pub fn nearest(&self, wrong: &str) -> Option<&str> {
        let wrong = wrong.to_lowercase();
        let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
        let distance = |key: &&String| strsim::damerau_levenshtein(key, &wrong);
        // The right name in the wrong section, or in the wrong case.
        let same_name = self
            .keys
            .iter()
            .filter(|key| last(key) == last(&wrong))
            .min_by_key(distance);
        if let Some(key) = same_name {
            return Some(key);
        }
        let nearest = self.keys.iter().chain(&self.sections).min_by_key(distance)?;
        // Farther than a third of the word is no longer a slip of the finger.
        (distance(&nearest) * 3 <= nearest.len().max(wrong.len())).then_some(nearest)
    }
}
