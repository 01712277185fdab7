//! The paths of packages: split first, then each segment is decoded exactly once.
//!
//! actix's own matcher decodes before it matches, which would lose `%2F` inside a version.

use percent_encoding::percent_decode_str;

use crate::artifact::Coordinates;

/// What a path under `/api/packages` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/{owner}/generic/{package}/{version}/{file}`
    File {
        /// Owner's name.
        owner: String,
        /// The rest.
        at: Coordinates,
    },
    /// `/{owner}/generic/{package}/{version}`
    Version {
        /// Owner's name.
        owner: String,
        /// Package name.
        package: String,
        /// Version.
        version: String,
    },
}

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Nothing is there: 404.
    Unknown,
    /// An escape that is not one: 400.
    Encoding,
}

impl Target {
    /// Reads the raw path of a request, which begins with `/api/packages`. Repeated and trailing slashes count as one
    /// and none; `+` stays `+`.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        if (segments.next(), segments.next()) != (Some("api"), Some("packages")) {
            return Err(PathError::Unknown);
        }
        let segments = segments.map(decode).collect::<Result<Vec<_>, _>>()?;
        match <[String; 5]>::try_from(segments) {
            Ok([owner, kind, package, version, file]) if kind == "generic" => Ok(Target::File {
                owner,
                at: Coordinates {
                    package,
                    version,
                    file,
                },
            }),
            Ok(_) => Err(PathError::Unknown),
            Err(segments) => match <[String; 4]>::try_from(segments) {
                Ok([owner, kind, package, version]) if kind == "generic" => Ok(Target::Version {
                    owner,
                    package,
                    version,
                }),
                _ => Err(PathError::Unknown),
            },
        }
    }
}

/// Decodes one segment, strictly: every `%` must begin an escape.
fn decode(segment: &str) -> Result<String, PathError> {
    let bytes = segment.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'%') {
        let escape = bytes.get(at + found + 1..at + found + 3);
        if !escape.is_some_and(|escape| escape.iter().all(u8::is_ascii_hexdigit)) {
            return Err(PathError::Encoding);
        }
        at += found + 3;
    }
    // No name can be what is not UTF-8: it becomes one that nothing has and every rule refuses.
    Ok(percent_decode_str(segment)
        .decode_utf8()
        .map_or_else(|_| "\0".to_owned(), String::from))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str) -> (String, String, String, String) {
        match Target::parse(path) {
            Ok(Target::File { owner, at }) => (owner, at.package, at.version, at.file),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn segments_are_decoded_once() {
        let (owner, package, version, name) = file("/api/packages/o/generic/p%2B+/1%2F2%2525/%41%20b");
        assert_eq!((owner.as_str(), package.as_str()), ("o", "p++"));
        assert_eq!((version.as_str(), name.as_str()), ("1/2%25", "A b"));
    }

    #[test]
    fn slashes_collapse() {
        assert_eq!(
            file("//api/packages//o/generic/p/1//f/"),
            file("/api/packages/o/generic/p/1/f")
        );
        assert!(matches!(
            Target::parse("/api/packages/o/generic/p//f"),
            Ok(Target::Version { .. })
        ));
    }

    #[test]
    fn what_is_nothing_is_unknown() {
        for path in [
            "/",
            "/api/packages",
            "/api/packages/o/npm/p/1/f",
            "/api/packages/o/generic/p/1/f/g",
        ] {
            assert_eq!(Target::parse(path), Err(PathError::Unknown), "{path}");
        }
    }

    #[test]
    fn bad_escapes_are_said() {
        for path in ["%", "%4", "%zz", "a%"] {
            let path = format!("/api/packages/o/generic/p/1/{path}");
            assert_eq!(Target::parse(&path), Err(PathError::Encoding), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_panic(path in ".*") {
            let _ = Target::parse(&path);
            let _ = Target::parse(&format!("/api/packages/{path}"));
        }

        #[test]
        fn names_round_trip(names in prop::array::uniform4(".{1,20}")) {
            let encoded = names.each_ref().map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string());
            let [owner, package, version, name] = encoded;
            let (o, p, v, f) = file(&format!("/api/packages/{owner}/generic/{package}/{version}/{name}"));
            prop_assert_eq!([o, p, v, f], names);
        }
    }
}
