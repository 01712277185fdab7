//! Fields of a JSON object that a client sent. What is unknown is ignored, as Gitea's other fields must be; what has
//! the wrong type is named.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::store::model::Millis;

/// A body that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    /// Torn or no JSON at all.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A field that must be there.
    #[error("{0} is required")]
    Missing(&'static str),
    /// A field whose name or range is only known when it is read.
    #[error("{0}")]
    Bad(String),
    /// A field of the wrong type or value.
    #[error("{field} must be {what}")]
    Wrong {
        /// Which field.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
}

/// A JSON object.
#[derive(Clone, Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, BadField> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(_) => Err(BadField::NotAnObject),
            Err(_) => Err(BadField::NotJson),
        }
    }

    /// A text that must be there.
    pub fn text(&self, field: &'static str) -> Result<&str, BadField> {
        self.optional_text(field)?.ok_or(BadField::Missing(field))
    }

    /// A text; `null` counts as absent.
    pub fn optional_text(&self, field: &'static str) -> Result<Option<&str>, BadField> {
        let what = "a string";
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(BadField::Wrong { field, what }),
        }
    }

    /// A truth value that may be absent or `null`.
    pub fn optional_flag(&self, field: &'static str) -> Result<Option<bool>, BadField> {
        let what = "true or false";
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(BadField::Wrong { field, what }),
        }
    }

    /// A time in RFC 3339 that may be absent or `null`.
    pub fn time(&self, field: &'static str) -> Result<Option<Millis>, BadField> {
        let what = "a time like 2027-01-31T12:00:00Z";
        let time = self.optional_text(field)?.map(str::parse::<Timestamp>);
        let time = time.transpose().map_err(|_| BadField::Wrong { field, what })?;
        Ok(time.map(Timestamp::as_millisecond))
    }

    /// A list of objects; empty if absent or `null`.
    pub fn objects(&self, field: &'static str) -> Result<Vec<Fields>, BadField> {
        let what = "a list of objects";
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| match item {
                    Value::Object(fields) => Ok(Fields(fields.clone())),
                    _ => Err(BadField::Wrong { field, what }),
                })
                .collect(),
            Some(_) => Err(BadField::Wrong { field, what }),
        }
    }

    /// What is to become of a setting: `None` where the field is absent, `Some(None)` where it is `null`.
    ///
    /// # Errors
    /// Where `read` cannot use the value.
    pub fn setting<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&'static str, &Value) -> Result<T, BadField>,
    ) -> Result<Option<Option<T>>, BadField> {
        match self.0.get(field) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => read(field, value).map(|value| Some(Some(value))),
        }
    }

    /// A truth value; `null` counts as absent.
    pub fn flag(&self, field: &'static str, absent: bool) -> Result<bool, BadField> {
        Ok(self.optional_flag(field)?.unwrap_or(absent))
    }

    /// A list of texts; empty if absent or `null`.
    pub fn texts(&self, field: &'static str) -> Result<Vec<&str>, BadField> {
        let what = "a list of strings";
        let wrong = BadField::Wrong { field, what };
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.ok_or(wrong)
            }
            Some(_) => Err(wrong),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn fields_have_types() {
        let fields = fields(r#"{"a": "x", "b": true, "c": ["y", "z"], "n": null, "other": {}}"#);
        assert_eq!(fields.text("a"), Ok("x"));
        assert_eq!(fields.flag("b", false), Ok(true));
        assert_eq!(fields.texts("c"), Ok(vec!["y", "z"]));
        assert_eq!(fields.optional_text("n"), Ok(None));
        assert_eq!(fields.flag("n", true), Ok(true));
        assert_eq!(fields.texts("absent"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fields = fields(r#"{"a": 5, "c": ["y", 5]}"#);
        assert_eq!(fields.text("a").unwrap_err().to_string(), "a must be a string");
        assert_eq!(fields.text("b").unwrap_err().to_string(), "b is required");
        assert_eq!(
            fields.flag("a", true).unwrap_err().to_string(),
            "a must be true or false"
        );
        assert_eq!(
            fields.texts("c").unwrap_err().to_string(),
            "c must be a list of strings"
        );
        assert_eq!(
            fields.texts("a").unwrap_err().to_string(),
            "a must be a list of strings"
        );
    }

    #[test]
    fn a_body_is_an_object() {
        assert_eq!(Fields::parse(b"[]").unwrap_err(), BadField::NotAnObject);
        for torn in [&b""[..], b"{\"a\": ", b"{} {}", b"\xff"] {
            assert_eq!(Fields::parse(torn).unwrap_err(), BadField::NotJson);
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Fields::parse(deep.as_bytes()).unwrap_err(), BadField::NotJson);
    }
}
