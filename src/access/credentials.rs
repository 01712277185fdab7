//! What a request brings to say who sends it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// What a request brings to say who sends it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// `Authorization: Basic`: a user and password, or a token in either place.
    Basic {
        /// As sent.
        user: String,
        /// As sent.
        password: String,
    },
    /// A token, from the header or the query.
    Token(String),
    /// Credentials that cannot be understood; they count as wrong ones.
    Malformed,
}

impl Credentials {
    /// Reads the value of the `Authorization` header, if there is one, and the query string (without `?`, as sent).
    ///
    /// With `query_tokens`, `token` and `access_token` in the query beat the header; an empty one counts as absent.
    pub fn parse(authorization: Option<&[u8]>, query: &str, query_tokens: bool) -> Self {
        if query_tokens && let Some(credentials) = from_query(query) {
            return credentials;
        }
        match authorization {
            Some(value) => from_header(value),
            None => Credentials::None,
        }
    }
}

/// Tells the form, never a user name (it may be a token), password or token.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic { .. } => "Basic(..)",
            Credentials::Token(_) => "Token(..)",
            Credentials::Malformed => "Malformed",
        })
    }
}

fn from_query(query: &str) -> Option<Credentials> {
    let value = query_value(query, "token").or_else(|| query_value(query, "access_token"))?;
    Some(match percent_decode_str(value).decode_utf8() {
        Ok(token) => Credentials::Token(token.into_owned()),
        Err(_) => Credentials::Malformed,
    })
}

/// The first value of a key that is not empty, still encoded.
fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, value)| !value.is_empty() && decoded(name) == key.as_bytes())
        .map(|(_, value)| value)
        .next()
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

fn from_header(value: &[u8]) -> Credentials {
    let Ok(value) = str::from_utf8(value) else {
        return Credentials::Malformed;
    };
    let mut words = value.split_ascii_whitespace();
    let (scheme, word) = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Credentials::None,
        (Some(scheme), Some(word), None) => (scheme, word),
        _ => return Credentials::Malformed,
    };
    if scheme.eq_ignore_ascii_case("basic") {
        return from_basic(word).unwrap_or(Credentials::Malformed);
    }
    if scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer") {
        return Credentials::Token(word.to_owned());
    }
    Credentials::Malformed
}

/// `base64(user ":" password)`; the first colon ends the user, so the password may hold more of them.
fn from_basic(word: &str) -> Option<Credentials> {
    let decoded = String::from_utf8(STANDARD.decode(word).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(value: &str) -> Credentials {
        Credentials::parse(Some(value.as_bytes()), "", true)
    }

    fn query(query: &str) -> Credentials {
        Credentials::parse(None, query, true)
    }

    fn basic(text: &str) -> Credentials {
        header(&format!("Basic {}", STANDARD.encode(text)))
    }

    fn token(text: &str) -> Credentials {
        Credentials::Token(text.to_owned())
    }

    fn user(user: &str, password: &str) -> Credentials {
        Credentials::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(Credentials::parse(None, "", true), Credentials::None);
        assert_eq!(header(""), Credentials::None);
        assert_eq!(header("  "), Credentials::None);
        assert_eq!(query("token"), Credentials::None);
        assert_eq!(query("token=&access_token=&x=1"), Credentials::None);
        assert_eq!(query("Token=abc&tokens=abc"), Credentials::None);
    }

    #[test]
    fn basic_is_split_at_the_first_colon() {
        assert_eq!(basic("ann:secret"), user("ann", "secret"));
        assert_eq!(basic("ann:se:cr:et"), user("ann", "se:cr:et"));
        assert_eq!(basic("ann:"), user("ann", ""));
        assert_eq!(basic(":T"), user("", "T"));
        assert_eq!(basic(":"), user("", ""));
        assert_eq!(basic("änn:pässwörd"), user("änn", "pässwörd"));
        assert_eq!(basic("ann"), Credentials::Malformed);
    }

    #[test]
    fn schemes_are_known_in_any_case() {
        for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
            assert_eq!(header(&format!("{scheme} YTpi")), user("a", "b"));
        }
        for scheme in ["token", "TOKEN", "Bearer", "bearer", "bEARER"] {
            assert_eq!(header(&format!("{scheme} T")), token("T"));
            assert_eq!(header(&format!(" {scheme} \t T ")), token("T"));
        }
    }

    #[test]
    fn what_cannot_be_understood_is_malformed() {
        let values = [
            "T",
            "Basic",
            "Bearer ",
            "token a b",
            "Digest x",
            "Basic !!!!",
            "Basic YTpi=",
            "Basic YTpi x",
        ];
        for value in values {
            assert_eq!(header(value), Credentials::Malformed, "{value}");
        }
        assert_eq!(
            header(&format!("Basic {}", STANDARD.encode(b"a:\xff"))),
            Credentials::Malformed
        );
        assert_eq!(
            Credentials::parse(Some(b"token \xff"), "", true),
            Credentials::Malformed
        );
        assert_eq!(query("token=%ff"), Credentials::Malformed);
    }

    #[test]
    fn query_tokens_beat_the_header_unless_switched_off() {
        assert_eq!(query("token=T"), token("T"));
        assert_eq!(query("a=b&access_token=T&c"), token("T"));
        assert_eq!(query("access_token=A&token=T"), token("T"));
        assert_eq!(query("token=&token=T"), token("T"));
        assert_eq!(query("t%6Fken=%54%2B+"), token("T++"));
        assert_eq!(Credentials::parse(Some(b"token H"), "token=Q", true), token("Q"));
        assert_eq!(Credentials::parse(Some(b"rubbish"), "token=Q", true), token("Q"));
        assert_eq!(Credentials::parse(Some(b"token H"), "token=Q", false), token("H"));
        assert_eq!(Credentials::parse(None, "token=Q", false), Credentials::None);
    }

    proptest! {
        #[test]
        fn any_header_and_query_are_read_without_panic_and_shown_without_content(
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
            query in "\\PC{0,80}",
        ) {
            let credentials = Credentials::parse(value.as_deref(), &query, true);
            let shown = format!("{credentials:?}");
            prop_assert!(["None", "Basic(..)", "Token(..)", "Malformed"].contains(&shown.as_str()));
        }

        #[test]
        fn near_misses_are_read_without_panic(
            value in "(?i:basic|token|bearer)[ \t]{0,2}[A-Za-z0-9+/=:%]{0,40}[ ]?",
            query in "(token|access_token|t%6fken)(=|==|%3d)?[A-Za-z0-9%&=+]{0,40}",
        ) {
            let _ = Credentials::parse(Some(value.as_bytes()), &query, true);
            let _ = Credentials::parse(Some(value.as_bytes()), "", true);
        }

        #[test]
        fn basic_round_trips(name in "[^:]{0,20}", password in "\\PC{0,20}") {
            prop_assert_eq!(basic(&format!("{name}:{password}")), user(&name, &password));
        }
    }
}
