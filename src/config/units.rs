//! Values in human units, as they stand in a file, a variable or a flag.
//!
//! Each is read from text; a plain number counts as its own text. So `64`, `"64"` and an environment variable that
//! says 64 mean the same, and no value is ever converted silently (a `true` is not the number 1).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// The word that switches a limit off.
pub const NONE: &str = "none";

/// A number of bytes: `10GiB`, `64 MiB`, `1.5 GB`, `4096`. At most 8 EiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A duration: `30s`, `5m`, `1h 30m`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// How many of something: a whole number that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

/// A part of a hundred: `90%`; 0 to 100, without fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

/// Any text, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

/// A value, or the word `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

/// A value, or the word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrAuto<T>(pub Option<T>);

/// A value, or the word `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

/// Why a text is not such a value, as one sentence about the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let size = bytesize::ByteSize::from_str(text.trim()).map_err(|_| {
            UnitError(format!(
                "{text:?} is not a size; write \"10GiB\", \"64 MiB\" or a number of bytes"
            ))
        })?;
        // The parser saturates, so what is too large shows as a huge number.
        if size.as_u64() > i64::MAX as u64 {
            return Err(UnitError(format!("{text:?} is too large; the most is 8 EiB")));
        }
        Ok(Size(size.as_u64()))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let span = humantime::parse_duration(text.trim()).map_err(|_| {
            UnitError(format!(
                "{text:?} is not a duration; write \"30s\", \"5m\" or \"1h 30m\""
            ))
        })?;
        Ok(Span(span))
    }
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let count = text
            .trim()
            .parse()
            .map_err(|_| UnitError(format!("{text:?} is not a whole number")))?;
        Ok(Count(count))
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.trim().trim_end_matches('%').trim_end().parse();
        match number {
            Ok(percent @ 0..=100) => Ok(Percent(percent)),
            _ => Err(UnitError(format!("{text:?} is not a percentage; write \"90%\""))),
        }
    }
}

impl FromStr for Text {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Ok(Text(text.to_owned()))
    }
}

impl<T: FromStr<Err = UnitError>> FromStr for OrNone<T> {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        or_word(text, NONE).map(OrNone)
    }
}

impl<T: FromStr<Err = UnitError>> FromStr for OrAuto<T> {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        or_word(text, "auto").map(OrAuto)
    }
}

impl<T: FromStr> FromStr for OrOff<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text.trim() {
            "off" => Ok(OrOff(None)),
            other => other.parse().map(|value| OrOff(Some(value))),
        }
    }
}

fn or_word<T: FromStr<Err = UnitError>>(text: &str, word: &str) -> Result<Option<T>, UnitError> {
    if text.trim() == word {
        return Ok(None);
    }
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(UnitError(error)) => Err(UnitError(format!("{error}, or \"{word}\""))),
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub std::net::SocketAddr);

impl FromStr for Listen {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let address = text.trim().parse().map_err(|_| {
            UnitError(format!(
                "{text:?} is not an IP address and port; write \"127.0.0.1:3000\" or \"[::1]:3000\""
            ))
        })?;
        Ok(Listen(address))
    }
}

/// Like [`text`], for a key that may be left out.
pub fn optional_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    text(deserializer).map(Some)
}

/// Deserializes what `FromStr` reads, from a string or a whole number. For `#[serde(deserialize_with)]`.
pub fn text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    deserializer.deserialize_any(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T> Visitor<'_> for TextVisitor<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a whole number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_decimal_or_bytes() {
        assert_eq!("10GiB".parse(), Ok(Size(10 << 30)));
        assert_eq!("64 MiB".parse(), Ok(Size(64 << 20)));
        assert_eq!("1.5GB".parse(), Ok(Size(1_500_000_000)));
        assert_eq!("4096".parse(), Ok(Size(4096)));
        for wrong in [
            "",
            "-1",
            "ten",
            "10 parsecs",
            "1e3",
            "GiB",
            "NaN",
            "99999999999GiB",
            "20000000000000000000",
        ] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!("30s".parse(), Ok(Span(Duration::from_secs(30))));
        assert_eq!("1h 30m".parse(), Ok(Span(Duration::from_secs(5400))));
        for wrong in ["", "30", "-5s", "soon", "99999999999999999999s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_are_whole_and_at_most_100() {
        assert_eq!("90%".parse(), Ok(Percent(90)));
        assert_eq!(" 5 % ".parse(), Ok(Percent(5)));
        assert_eq!("100".parse(), Ok(Percent(100)));
        for wrong in ["", "%", "101%", "-1%", "0.9", "90.5%", "most"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_can_be_none_and_says_so() {
        assert_eq!("none".parse(), Ok(OrNone::<Size>(None)));
        assert_eq!("1KiB".parse(), Ok(OrNone(Some(Size(1024)))));
        let error = "unlimited".parse::<OrNone<Size>>().unwrap_err().to_string();
        assert!(error.ends_with("or \"none\""), "{error}");
        assert_eq!("auto".parse(), Ok(OrAuto::<Count>(None)));
    }
}
