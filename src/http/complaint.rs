//! What is wrong with a JSON body, in the words of JSON: serde says it in those of Rust (`u32`, `struct Rule`, `map`).

use serde_path_to_error::Error;

/// Longest value that is shown, in bytes.
const MAX_SHOWN: usize = 60;

/// Which field is wrong, and why; without the place in the text, which says nothing to whoever made it from a struct.
pub fn complaint(error: &Error<serde_json::Error>) -> String {
    let text = error.inner().to_string();
    let (text, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
    let path = error.path().to_string();
    let path = if path == "." { "" } else { &path };
    if let Some(field) = quoted(text, "missing field `") {
        return format!("{} is missing", below(path, field));
    }
    if let Some(field) = quoted(text, "duplicate field `") {
        return format!("{} is there twice", below(path, field));
    }
    match wrong(text) {
        Some(what) if path.is_empty() => format!("the body {what}"),
        Some(what) => format!("{path} {what}"),
        None if path.is_empty() => text.to_owned(),
        None if text.starts_with("must ") => format!("{path} {text}"),
        None => format!("{path}: {text}"),
    }
}

/// A value as it is shown in a message: quoted, and not longer than helps.
pub fn shown(value: &str) -> String {
    match value.len() {
        ..=MAX_SHOWN => format!("{value:?}"),
        _ => format!("{:?}…", &value[..value.floor_char_boundary(MAX_SHOWN)]),
    }
}

/// What stands in the backticks behind `before`.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix('`')
}

/// The way to a field of what is at `path`.
fn below(path: &str, field: &str) -> String {
    match path {
        "" => field.to_owned(),
        path => format!("{path}.{field}"),
    }
}

/// What a value must be, and what it is; `None` for a text that is none of serde's own.
fn wrong(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("unknown variant `") {
        let (given, expected) = rest.rsplit_once("`, expected ")?;
        let expected = expected.replace('`', "");
        return Some(format!("must be {expected}, not {}", shown(given)));
    }
    if text.starts_with("invalid length ") && text.contains(", expected struct ") {
        return Some("must be an object, not an array".to_owned());
    }
    let typed = text.strip_prefix("invalid type: ");
    let (given, expected) = typed
        .or_else(|| text.strip_prefix("invalid value: "))?
        .rsplit_once(", expected ")?;
    let (expected, is_number) = in_json(expected);
    Some(format!("must be {expected}, not {}", found(given, is_number)))
}

/// What is expected, and whether that is a number.
fn in_json(expected: &str) -> (String, bool) {
    let whole = |least: i64, most: u64| (format!("a whole number from {least} to {most}"), true);
    match expected {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX),
        "i32" => whole(i32::MIN.into(), i32::MAX.unsigned_abs().into()),
        "i64" | "isize" => whole(i64::MIN, i64::MAX.unsigned_abs()),
        "f32" | "f64" => ("a number".to_owned(), true),
        "a boolean" => ("true or false".to_owned(), false),
        "a sequence" => ("an array".to_owned(), false),
        "a map" => ("an object".to_owned(), false),
        structure if structure.starts_with("struct ") => ("an object".to_owned(), false),
        other => (other.to_owned(), false),
    }
}

/// What is there instead. Only a number in place of a number is repeated: anything else may be a secret in the wrong
/// place, and its kind says enough.
fn found(given: &str, in_place_of_a_number: bool) -> String {
    let (kind, value) = given.split_once(" `").unwrap_or((given, ""));
    let kind = match kind {
        "integer" | "floating point" | "number" if in_place_of_a_number => {
            return value.trim_end_matches('`').to_owned();
        }
        "integer" | "floating point" | "number" => "a number",
        "boolean" => return value.trim_end_matches('`').to_owned(),
        "map" => "an object",
        "sequence" => "an array",
        "null" | "unit value" => "null",
        _ => "a string",
    };
    kind.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Body {
        text: Option<String>,
        flag: Option<bool>,
        count: Option<u32>,
        signed: Option<i64>,
        kind: Option<Kind>,
        inner: Option<Inner>,
        list: Option<Vec<Inner>>,
        named: Option<BTreeMap<String, f64>>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Read,
        Write,
    }

    fn said(text: &str) -> String {
        let mut json = serde_json::Deserializer::from_str(text);
        complaint(&serde_path_to_error::deserialize::<_, Body>(&mut json).unwrap_err())
    }

    #[test]
    fn it_speaks_of_json() {
        for (text, expected) in [
            (r#"{"text": 5}"#, "text must be a string, not a number"),
            (r#"{"text": ["secret"]}"#, "text must be a string, not an array"),
            (
                r#"{"flag": "secret, expected u8"}"#,
                "flag must be true or false, not a string",
            ),
            (
                r#"{"count": -1}"#,
                "count must be a whole number from 0 to 4294967295, not -1",
            ),
            (
                r#"{"count": 1.5}"#,
                "count must be a whole number from 0 to 4294967295, not 1.5",
            ),
            (
                r#"{"count": 4294967296}"#,
                "count must be a whole number from 0 to 4294967295, not 4294967296",
            ),
            (
                r#"{"count": true}"#,
                "count must be a whole number from 0 to 4294967295, not true",
            ),
            (
                r#"{"count": "5"}"#,
                "count must be a whole number from 0 to 4294967295, not a string",
            ),
            (
                r#"{"signed": 1e23}"#,
                "signed must be a whole number from -9223372036854775808 to 9223372036854775807, not 1e+23",
            ),
            (r#"{"kind": "own"}"#, "kind must be read or write, not \"own\""),
            (r#"{"inner": 5}"#, "inner must be an object, not a number"),
            (r#"{"inner": []}"#, "inner must be an object, not an array"),
            (r#"{"inner": {}}"#, "inner.name is missing"),
            (
                r#"{"inner": {"name": null}}"#,
                "inner.name must be a string, not null",
            ),
            (r#"{"list": {}}"#, "list must be an array, not an object"),
            (r#"{"list": [{"name": "a"}, {}]}"#, "list[1].name is missing"),
            (r#"{"list": ["a"]}"#, "list[0] must be an object, not a string"),
            (
                r#"{"named": {"a": "b"}}"#,
                "named.a must be a number, not a string",
            ),
            (r#"{"text": "a", "text": "b"}"#, "text is there twice"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(shown(&"ä".repeat(100)).chars().count(), 33);
    }
}
