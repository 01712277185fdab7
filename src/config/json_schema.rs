//! A JSON schema of the configuration file, for editors, made of the annotated defaults: keys, types and explanations
//! stand there already.

use serde_json::{Map, Value, json};

use super::layers::DEFAULTS;
use super::units::{NONE, Percent, Size, Span};
use crate::artifact::retention::rules::{MAX_GLOBS, MAX_RULES};
use crate::owner::Policy;

/// Keys that take one value or a list of them.
const LISTS: [&str; 2] = ["server.listen", "server.trusted_proxies"];

/// Keys that take one of these words.
const CHOICES: [(&str, &[&str]); 4] = [
    ("accounts.create_organisations", &["admins", "users"]),
    ("server.forwarded", &["x-forwarded", "forwarded"]),
    ("log.format", &["auto", "human", "json"]),
    ("log.access", &["off", "combined", "json"]),
];

/// The schema, in draft 7, which is what editors know for TOML.
pub fn json_schema() -> Value {
    let mut sections = Map::new();
    let (mut section, mut explanation) = (String::new(), Explanation::default());
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            sections.insert(section.clone(), object(Map::new()));
        }
        explanation.read(line);
        if line.starts_with('#') {
            continue;
        }
        let Ok(pairs) = toml::from_str::<toml::Table>(line) else {
            continue;
        };
        let properties = sections
            .get_mut(&section)
            .and_then(|section| section["properties"].as_object_mut());
        for ((key, value), properties) in pairs.into_iter().zip(properties) {
            let mut described = kind(&format!("{section}.{key}"), &value);
            described["description"] = explanation.text().into();
            described["default"] = json!(value);
            properties.insert(key, described);
        }
    }
    sections.insert("policies".to_owned(), policies());
    sections.insert("oidc".to_owned(), oidc());
    let mut schema = object(sections);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Larder's configuration".into();
    schema
}

fn object(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn kind(key: &str, default: &toml::Value) -> Value {
    if let Some((_, words)) = CHOICES.iter().find(|(known, _)| *known == key) {
        return json!({"type": "string", "enum": words});
    }
    if key == "retention.rules" {
        return retention_rules();
    }
    if LISTS.contains(&key) {
        let text = json!({"type": "string"});
        return json!({"anyOf": [text, {"type": "array", "items": text}]});
    }
    match default {
        toml::Value::Boolean(_) => json!({"type": "boolean"}),
        // A number may be written as text, and text with a number in it as a number.
        toml::Value::Integer(_) => json!({"type": ["integer", "string"]}),
        toml::Value::String(text) if has_number(text) => json!({"type": ["string", "integer"]}),
        _ => json!({"type": "string"}),
    }
}

fn has_number(text: &str) -> bool {
    [NONE, "auto"].contains(&text)
        || text.parse::<Size>().is_ok()
        || text.parse::<Span>().is_ok()
        || text.parse::<Percent>().is_ok()
}

fn retention_rules() -> Value {
    let span = json!({"type": "string"});
    let globs = json!({"type": "array", "items": {"type": "string"}, "maxItems": MAX_GLOBS});
    let mut rule = object(Map::from_iter([
        (
            "packages".to_owned(),
            json!({"type": "string", "pattern": "^[^/]+/[^/]+$", "description": "owner/package, either may be a glob"}),
        ),
        ("keep_newest".to_owned(), json!({"type": "integer", "minimum": 0})),
        ("keep".to_owned(), globs.clone()),
        ("remove".to_owned(), globs),
        ("remove_older_than".to_owned(), span.clone()),
        ("remove_unused_for".to_owned(), span),
    ]));
    rule["required"] = json!(["packages"]);
    json!({"type": "array", "items": rule, "maxItems": MAX_RULES})
}

fn policies() -> Value {
    let names = [Policy::Release, Policy::Package, Policy::WriteOnce, Policy::Cache];
    let mut rule = object(Map::from_iter([
        (
            "packages".to_owned(),
            json!({"type": "string", "pattern": "^[^/]+/[^/]+$", "description": "owner/package, either may be a glob"}),
        ),
        ("policy".to_owned(), json!({"enum": names})),
    ]));
    rule["required"] = json!(["packages", "policy"]);
    json!({
        "type": "array",
        "items": rule,
        "description": "What happens to a name that is taken, by package. The most specific pattern wins.",
    })
}

fn oidc() -> Value {
    let text = || json!({"type": "string"});
    let pattern = json!({"type": "string", "pattern": "^[^/]+/[^/]+$", "description": "owner/package, either may be a glob"});
    let claims = json!({
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "Each a glob; * stops at a slash, ** does not.",
    });
    let mut rule = object(Map::from_iter([
        ("claims".to_owned(), claims),
        ("packages".to_owned(), pattern),
        ("permission".to_owned(), json!({"enum": ["read", "write"]})),
    ]));
    rule["required"] = json!(["claims", "packages", "permission"]);
    let algorithms = json!(["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]);
    let texts = [
        "name",
        "issuer",
        "audience",
        "jwks_url",
        "ca_file",
        "leeway",
        "keys_fresh",
        "keys_stale",
        "refetch_after",
    ];
    let mut fields = Map::from_iter(texts.map(|name| (name.to_owned(), text())));
    fields.insert(
        "algorithms".to_owned(),
        json!({"type": "array", "items": {"enum": algorithms}}),
    );
    fields.insert(
        "rules".to_owned(),
        json!({"type": "array", "items": rule, "minItems": 1}),
    );
    let mut issuer = object(fields);
    issuer["required"] = json!(["name", "issuer", "audience", "rules"]);
    json!({
        "type": "array",
        "items": issuer,
        "description": "Whose CI jobs may come in without a secret, see docs/accounts.md.",
    })
}

/// The comment above a key; keys that follow each other without a blank line share it.
#[derive(Default)]
struct Explanation {
    lines: Vec<String>,
    /// A key came after it: the next comment is another one.
    used: bool,
}

impl Explanation {
    fn read(&mut self, line: &str) {
        match line.strip_prefix('#') {
            Some(text) => {
                if std::mem::take(&mut self.used) {
                    self.lines.clear();
                }
                self.lines.push(text.trim().to_owned());
            }
            None if line.trim().is_empty() => self.lines.clear(),
            None => self.used = true,
        }
    }

    fn text(&self) -> String {
        self.lines.join(" ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_repository_is_this_one() {
        let committed = include_str!("../../config/schema.json");
        assert!(
            committed == format!("{:#}\n", json_schema()),
            "config/schema.json is out of date; run: cargo run -- config --schema >config/schema.json"
        );
    }

    #[test]
    fn every_key_is_explained_and_has_a_kind() {
        let schema = json_schema();
        let defaults: toml::Table = toml::from_str(DEFAULTS).unwrap();
        for (section, keys) in &defaults {
            for key in keys.as_table().unwrap().keys() {
                let described = &schema["properties"][section]["properties"][key];
                let explanation = described["description"].as_str().unwrap_or_default();
                assert!(explanation.len() > 10, "{section}.{key}: {described}");
                assert!(described["type"] != Value::Null || described["anyOf"] != Value::Null);
            }
        }
        let property = |section: &str, key: &str| &schema["properties"][section]["properties"][key];
        assert_eq!(property("server", "query_tokens")["type"], json!("boolean"));
        assert_eq!(
            property("store", "max_size")["type"],
            json!(["string", "integer"])
        );
        assert_eq!(property("store", "data")["type"], json!("string"));
        assert_eq!(
            schema["properties"]["policies"]["items"]["properties"]["policy"]["enum"][2],
            json!("write-once")
        );
    }

    #[test]
    fn keys_with_special_kinds_exist() {
        let schema = json_schema();
        for key in LISTS.iter().chain(CHOICES.iter().map(|(key, _)| key)) {
            let (section, name) = key.split_once('.').unwrap();
            assert!(
                schema["properties"][section]["properties"][name].is_object(),
                "{key}"
            );
        }
    }
}
