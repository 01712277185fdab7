//! From a raw path to a route.
//!
//! The path is split first, and then each segment is percent-decoded exactly once, so an escaped slash is part of a name.
//! Empty segments are dropped: repeated and trailing slashes mean nothing.

use percent_encoding::percent_decode_str;

use crate::artifact::Coordinates;

/// Stands for a segment whose bytes are not UTF-8. No rule for names allows it, so it is refused like any bad name, with
/// the text for its part, and is not found elsewhere.
const NO_NAME: &str = "\0";

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum Route {
    /// A file of a version of a package.
    File {
        /// Whose package.
        owner: String,
        /// Which file.
        at: Coordinates,
    },
    /// A version of a package.
    Version {
        /// Whose package.
        owner: String,
        /// The package.
        package: String,
        /// The version.
        version: String,
    },
    /// Something else below `/api/packages`.
    UnknownPackages,
    /// `/api/v1/admin/users`
    AdminUsers,
    /// `/api/v1/admin/users/{user}`
    AdminUser {
        /// Which.
        user: String,
    },
    /// `/api/v1/admin/owners/{owner}/retention`
    OwnerRetention {
        /// Whose.
        owner: String,
    },
    /// `/api/v1/admin/owners/{owner}/retention/preview`
    RetentionPreview {
        /// Whose.
        owner: String,
    },
    /// `/api/v1/admin/retention`
    AdminRetention,
    /// `/api/v1/admin/owners/{owner}`
    AdminOwner {
        /// Which.
        owner: String,
    },
    /// `/api/v1/orgs`
    Organisations,
    /// `/api/v1/orgs/{org}`
    Organisation {
        /// Which.
        name: String,
    },
    /// `/api/v1/orgs/{org}/members`
    Members {
        /// Of which.
        organisation: String,
    },
    /// `/api/v1/orgs/{org}/members/{user}`
    Member {
        /// Of which.
        organisation: String,
        /// Who.
        user: String,
    },
    /// `/api/v1/admin/gc`
    AdminGc,
    /// `/api/v1/admin/reload`
    AdminReload,
    /// `/api/v1/users/{user}/tokens`
    Tokens {
        /// Whose.
        user: String,
    },
    /// `/api/v1/users/{user}/tokens/{token}`
    Token {
        /// Whose.
        user: String,
        /// Its id or name.
        token: String,
    },
    /// `/api/v1/packages/{owner}`
    OwnerPackages {
        /// Whose.
        owner: String,
    },
    /// `/api/v1/packages/{owner}/generic/{name}`
    Package {
        /// Whose.
        owner: String,
        /// Which.
        name: String,
    },
    /// `/api/v1/packages/{owner}/generic/{name}/-/latest`
    LatestVersion {
        /// Whose.
        owner: String,
        /// Of which package.
        name: String,
    },
    /// `/api/v1/packages/{owner}/generic/{name}/{version}`
    PackageVersion {
        /// Whose.
        owner: String,
        /// Of which package.
        name: String,
        /// Which.
        version: String,
    },
    /// `/api/v1/packages/{owner}/generic/{name}/{version}/files`
    VersionFiles {
        /// Whose.
        owner: String,
        /// Of which package.
        name: String,
        /// Of which version.
        version: String,
    },
    /// `/api/v1/packages/{owner}/generic/{name}/{version}/-/pin`
    Pin {
        /// Whose.
        owner: String,
        /// Of which package.
        name: String,
        /// Which version.
        version: String,
    },
    /// `/api/v1/user`
    Me,
    /// `/api/v1/version`
    ApiVersion,
    /// Something else below `/api/v1`.
    UnknownApi,
    /// `/api/swagger.json`
    Swagger,
    /// `/livez`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/healthz`
    Healthz,
    /// `/api/healthz`
    ApiHealthz,
    /// `/metrics`
    Metrics,
    /// `/api/docs/{document}`
    Document {
        /// Which.
        name: String,
    },
    /// `/`
    Front,
    /// Something else.
    Unknown,
}

/// An escape that is not `%` and two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape;

/// The route of a raw path, without its query.
pub fn parse(raw: &str) -> Result<Route, BadEscape> {
    let segments: Vec<&str> = raw.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| !is_well_escaped(segment)) {
        return Err(BadEscape);
    }
    Ok(match segments.as_slice() {
        ["api", "packages", rest @ ..] => packages(rest),
        ["api", "v1", rest @ ..] => api(rest),
        ["api", "swagger.json"] => Route::Swagger,
        ["api", "docs", name] => Route::Document { name: decode(name) },
        ["api", "healthz"] => Route::ApiHealthz,
        ["livez"] => Route::Livez,
        ["readyz"] => Route::Readyz,
        ["healthz"] => Route::Healthz,
        ["metrics"] => Route::Metrics,
        [] => Route::Front,
        _ => Route::Unknown,
    })
}

/// Whether a raw path that has no route belongs to the management API all the same.
pub fn is_under_api(raw: &str) -> bool {
    let mut segments = raw.split('/').filter(|segment| !segment.is_empty());
    segments.next() == Some("api") && segments.next() == Some("v1")
}

fn packages(segments: &[&str]) -> Route {
    match segments {
        [owner, "generic", package, version, file] => Route::File {
            owner: decode(owner),
            at: Coordinates {
                package: decode(package),
                version: decode(version),
                file: decode(file),
            },
        },
        [owner, "generic", package, version] => Route::Version {
            owner: decode(owner),
            package: decode(package),
            version: decode(version),
        },
        _ => Route::UnknownPackages,
    }
}

fn api(segments: &[&str]) -> Route {
    match segments {
        ["admin", "users"] => Route::AdminUsers,
        ["admin", "users", user] => Route::AdminUser { user: decode(user) },
        ["admin", "owners", owner, "retention"] => Route::OwnerRetention { owner: decode(owner) },
        ["admin", "owners", owner, "retention", "preview"] => {
            Route::RetentionPreview { owner: decode(owner) }
        }
        ["admin", "retention"] => Route::AdminRetention,
        ["admin", "owners", owner] => Route::AdminOwner { owner: decode(owner) },
        ["orgs"] => Route::Organisations,
        ["orgs", name] => Route::Organisation { name: decode(name) },
        ["orgs", name, "members"] => Route::Members {
            organisation: decode(name),
        },
        ["orgs", name, "members", user] => Route::Member {
            organisation: decode(name),
            user: decode(user),
        },
        ["admin", "gc"] => Route::AdminGc,
        ["admin", "reload"] => Route::AdminReload,
        ["users", user, "tokens"] => Route::Tokens { user: decode(user) },
        ["users", user, "tokens", token] => Route::Token {
            user: decode(user),
            token: decode(token),
        },
        ["packages", owner] => Route::OwnerPackages { owner: decode(owner) },
        ["packages", owner, "generic", name] => Route::Package {
            owner: decode(owner),
            name: decode(name),
        },
        ["packages", owner, "generic", name, "-", "latest"] => Route::LatestVersion {
            owner: decode(owner),
            name: decode(name),
        },
        ["packages", owner, "generic", name, version] => Route::PackageVersion {
            owner: decode(owner),
            name: decode(name),
            version: decode(version),
        },
        ["packages", owner, "generic", name, version, "files"] => Route::VersionFiles {
            owner: decode(owner),
            name: decode(name),
            version: decode(version),
        },
        ["packages", owner, "generic", name, version, "-", "pin"] => Route::Pin {
            owner: decode(owner),
            name: decode(name),
            version: decode(version),
        },
        ["user"] => Route::Me,
        ["version"] => Route::ApiVersion,
        _ => Route::UnknownApi,
    }
}

fn is_well_escaped(segment: &str) -> bool {
    // The piece before the first `%` is no escape.
    segment.split('%').skip(1).all(|piece| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn decode(segment: &str) -> String {
    match percent_decode_str(segment).decode_utf8() {
        Ok(name) => name.into_owned(),
        Err(_) => NO_NAME.to_owned(),
    }
}

impl Route {
    /// The methods it takes.
    pub fn methods(&self) -> &'static [&'static str] {
        match self {
            Route::File { .. } => &["GET", "HEAD", "PUT", "DELETE"],
            Route::Version { .. } | Route::Token { .. } => &["DELETE"],
            Route::AdminUser { .. } => &["PATCH", "DELETE"],
            Route::AdminOwner { .. } => &["GET", "HEAD", "PATCH"],
            Route::Organisations => &["POST"],
            Route::Organisation { .. } => &["GET", "HEAD", "PATCH", "DELETE"],
            Route::Package { .. } | Route::PackageVersion { .. } => &["GET", "HEAD", "DELETE"],
            Route::Member { .. } => &["PUT", "DELETE"],
            Route::OwnerRetention { .. } => &["GET", "HEAD", "PUT"],
            Route::Pin { .. } => &["PUT", "DELETE"],
            Route::AdminGc | Route::AdminReload | Route::AdminRetention | Route::RetentionPreview { .. } => {
                &["POST"]
            }
            Route::AdminUsers | Route::Tokens { .. } => &["GET", "HEAD", "POST"],
            _ => &["GET", "HEAD"],
        }
    }

    /// Whether there is anything.
    pub fn exists(&self) -> bool {
        !matches!(self, Route::Unknown | Route::UnknownPackages | Route::UnknownApi)
    }

    /// Whether it is of the management API.
    pub fn is_api(&self) -> bool {
        matches!(
            self,
            Route::AdminUsers
                | Route::AdminUser { .. }
                | Route::AdminOwner { .. }
                | Route::OwnerPackages { .. }
                | Route::Package { .. }
                | Route::LatestVersion { .. }
                | Route::PackageVersion { .. }
                | Route::VersionFiles { .. }
                | Route::Organisations
                | Route::Organisation { .. }
                | Route::Members { .. }
                | Route::Member { .. }
                | Route::AdminGc
                | Route::AdminRetention
                | Route::OwnerRetention { .. }
                | Route::RetentionPreview { .. }
                | Route::Pin { .. }
                | Route::AdminReload
                | Route::Tokens { .. }
                | Route::Token { .. }
                | Route::Me
                | Route::ApiVersion
                | Route::UnknownApi
        )
    }

    /// Whether it answers before the store is open.
    pub fn is_always_there(&self) -> bool {
        matches!(
            self,
            Route::Livez | Route::Readyz | Route::Healthz | Route::ApiHealthz | Route::Metrics
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn file(owner: &str, package: &str, version: &str, file: &str) -> Route {
        Route::File {
            owner: owner.to_owned(),
            at: Coordinates {
                package: package.to_owned(),
                version: version.to_owned(),
                file: file.to_owned(),
            },
        }
    }

    #[test]
    fn files_and_versions() {
        assert_eq!(
            parse("/api/packages/admin/generic/tool/1.0/a.bin"),
            Ok(file("admin", "tool", "1.0", "a.bin"))
        );
        let version = Route::Version {
            owner: "admin".to_owned(),
            package: "tool".to_owned(),
            version: "1.0".to_owned(),
        };
        assert_eq!(parse("/api/packages/admin/generic/tool/1.0"), Ok(version.clone()));
        assert_eq!(
            parse("//api//packages/admin///generic/tool/1.0//"),
            Ok(version.clone())
        );
        assert_eq!(version.methods(), ["DELETE"]);
    }

    #[test]
    fn segments_are_decoded_once_after_the_split() {
        let decoded = |segment: &str| parse(&format!("/api/packages/o/generic/p/{segment}/f"));
        for (segment, version) in [
            ("a%2Fb", "a/b"),
            ("a%2fb", "a/b"),
            ("%2525", "%25"),
            ("a+b", "a+b"),
            ("a%20b", "a b"),
            ("%C3%BC", "ü"),
            ("%2E%2E", ".."),
            ("..", ".."),
        ] {
            assert_eq!(decoded(segment), Ok(file("o", "p", version, "f")), "{segment}");
        }
        assert_eq!(
            parse("/api/packages/%61/%67eneric/p/v/f"),
            Ok(Route::UnknownPackages)
        );
    }

    #[test]
    fn bad_escapes_are_errors_and_bad_utf8_is_no_name() {
        for segment in ["%", "%2", "%zz", "a%G0", "%%20", "a%2Fb%"] {
            assert_eq!(
                parse(&format!("/api/packages/o/generic/p/{segment}/f")),
                Err(BadEscape),
                "{segment}"
            );
        }
        assert_eq!(
            parse("/api/packages/o/generic/p/%FF/f"),
            Ok(file("o", "p", NO_NAME, "f"))
        );
        let Ok(Route::File { at, .. }) = parse("/api/packages/o/generic/p/a%C3/f") else {
            panic!("a file");
        };
        assert_eq!(at.validate().unwrap_err().to_string(), "invalid package version");
    }

    #[test]
    fn everything_else_has_its_place() {
        let tokens = Route::Tokens {
            user: "ann".to_owned(),
        };
        let token = Route::Token {
            user: "ann".to_owned(),
            token: "a b".to_owned(),
        };
        let owner = Route::AdminOwner {
            owner: "a.b".to_owned(),
        };
        for (path, route) in [
            ("", Route::Front),
            ("/", Route::Front),
            ("///", Route::Front),
            ("/livez", Route::Livez),
            ("/readyz/", Route::Readyz),
            ("/healthz", Route::Healthz),
            ("/api/healthz", Route::ApiHealthz),
            ("/metrics", Route::Metrics),
            ("/api/v1/version", Route::ApiVersion),
            ("/api/v1/user", Route::Me),
            ("/api/v1/admin/users", Route::AdminUsers),
            ("/api/v1/admin/gc", Route::AdminGc),
            ("/api/v1/admin/owners/a%2Eb", owner),
            ("/api/v1/admin/owners", Route::UnknownApi),
            ("/api/v1/users/ann/tokens", tokens),
            ("/api/v1/users/ann/tokens/a%20b", token),
            ("/api/v1/users/ann", Route::UnknownApi),
            ("/api/v1", Route::UnknownApi),
            ("/api/packages", Route::UnknownPackages),
            ("/api/packages/a/npm/p/v/f", Route::UnknownPackages),
            ("/api/packages/a/Generic/p/v/f", Route::UnknownPackages),
            ("/api/packages/a/generic/p", Route::UnknownPackages),
            ("/api/packages/a/generic/p/v/f/g", Route::UnknownPackages),
            ("/api", Route::Unknown),
            ("/API/packages/a/generic/p/v/f", Route::Unknown),
            ("/nowhere", Route::Unknown),
        ] {
            assert_eq!(parse(path), Ok(route), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(raw in ".*", escapes in "(/|%|[0-9A-Fa-f]{1,2}|api|packages|generic){0,30}") {
            let _ = parse(&raw);
            let _ = parse(&escapes);
        }

        #[test]
        fn names_survive_the_way_through_a_path(
            owner in "\\PC{1,8}", package in "\\PC{1,8}", version in "\\PC{1,8}", name in "\\PC{1,8}"
        ) {
            let encoded = |name: &str| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
            let path = format!(
                "/api/packages/{}/generic/{}/{}/{}",
                encoded(&owner), encoded(&package), encoded(&version), encoded(&name)
            );
            prop_assert_eq!(parse(&path), Ok(file(&owner, &package, &version, &name)));
        }
    }
}
