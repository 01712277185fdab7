//! Reading what a client sent into a struct (see `super::json`). What is unknown is ignored, as Gitea's other fields must
//! be; what has the wrong type is named.

use serde::de::{DeserializeOwned, IgnoredAny, IntoDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::complaint::{complaint, shown};

/// A body that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    /// Torn or no JSON at all.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A parameter of the query with the wrong type or value.
    #[error("{field} must be {what}, not {}", shown(.given))]
    Wrong {
        /// Which field.
        field: &'static str,
        /// What it must be.
        what: &'static str,
        /// What it is.
        given: String,
    },
    /// A field of the wrong type or value, found while a body was read into a struct; with the way to it.
    #[error("{0}")]
    Mistyped(String),
}

/// Reads a body into a struct. What is unknown is ignored.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadField> {
    // A list would be taken for a struct, field by field.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        let json = serde_json::from_slice::<IgnoredAny>(body);
        return Err(json.map_or(BadField::NotJson, |_| BadField::NotAnObject));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed =
        serde_path_to_error::deserialize(&mut json).map_err(|error| match error.inner().classify() {
            Category::Data => BadField::Mistyped(complaint(&error)),
            Category::Io | Category::Syntax | Category::Eof => BadField::NotJson,
        })?;
    json.end().map_err(|_| BadField::NotJson)?;
    Ok(parsed)
}

/// One of an enum's names. serde_json takes anything but a text in its place for torn JSON, and `{"read": null}` for
/// `"read"`; this way it has the wrong type.
pub fn word<'de, T: DeserializeOwned, D: Deserializer<'de>>(json: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(json)?.into_deserializer())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        text: String,
        flag: Option<bool>,
        list: Option<Vec<Body>>,
    }

    fn refused(text: &[u8]) -> BadField {
        parse::<Body>(text).unwrap_err()
    }

    #[test]
    fn what_is_unknown_is_ignored_and_null_is_absent() {
        let text =
            br#" {"other": {"a": [1]}, "text": "x", "flag": null, "list": [{"text": "y", "flag": true}]} "#;
        let body: Body = parse(text).unwrap();
        assert_eq!((body.text.as_str(), body.flag), ("x", None));
        assert_eq!(body.list.unwrap()[0].flag, Some(true));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_to_it() {
        for (text, complaint) in [
            ("{}", "text is missing"),
            (r#"{"text": 5}"#, "text must be a string, not a number"),
            (
                r#"{"text": "x", "list": [{"text": "y", "flag": "yes"}]}"#,
                "list[0].flag must be true or false, not a string",
            ),
        ] {
            assert_eq!(refused(text.as_bytes()).to_string(), complaint);
        }
    }

    #[test]
    fn a_body_is_an_object() {
        for other in ["[]", "5", "null", r#"["x", true, []]"#, "\"x\"", "  [1]"] {
            assert_eq!(refused(other.as_bytes()), BadField::NotAnObject, "{other}");
        }
        for torn in [
            &b""[..],
            b"{\"a\": ",
            b"{\"text\": \"x\"} x",
            b"\xff",
            b"{\"text\": \"\xff\"}",
        ] {
            assert_eq!(refused(torn), BadField::NotJson, "{torn:?}");
        }
        let deep = format!("{{\"other\": {}", "[".repeat(100_000));
        assert_eq!(refused(deep.as_bytes()), BadField::NotJson);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[{}\\[\\]:,\"a-z0-9 .\\\\-]{0,60}") {
            let _ = parse::<Body>(&bytes);
            let _ = parse::<Body>(text.as_bytes());
        }
    }
}
