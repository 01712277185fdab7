//! Values in human units, as they stand in a file, a variable or a flag.
//!
//! Each is read from text; a plain number counts as its own text. So `64`, `"64"` and an environment variable that
//! says 64 mean the same, and no value is ever converted silently (a `true` is not the number 1).

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
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

/// Where to listen, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:3000`: HTTP.
    Http(SocketAddr),
    /// `tls:0.0.0.0:3443`: HTTP over TLS.
    Tls(SocketAddr),
    /// `unix:/run/larder/larder.sock`: HTTP over a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let address = |address: &str| {
            address.parse().map_err(|_| {
                UnitError(format!(
                    "{text:?} is not an IP address and port; write \"127.0.0.1:3000\", \"[::1]:3000\", \
                     \"tls:0.0.0.0:3443\" or \"unix:/run/larder/larder.sock\""
                ))
            })
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Listen::Unix(path.into())),
                false => Err(UnitError(format!(
                    "{text:?} needs a path from the root: \"unix:/…\""
                ))),
            };
        }
        match text.strip_prefix("tls:") {
            Some(rest) => address(rest).map(Listen::Tls),
            None => address(text).map(Listen::Http),
        }
    }
}

impl Listen {
    /// An address to connect to: listening on every address is connected to on the loopback one.
    pub fn reachable(self) -> Self {
        let loopback = |address: SocketAddr| {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                other => other,
            };
            SocketAddr::new(ip, address.port())
        };
        match self {
            Listen::Http(address) => Listen::Http(loopback(address)),
            Listen::Tls(address) => Listen::Tls(loopback(address)),
            Listen::Unix(path) => Listen::Unix(path),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Http(address) => write!(f, "{address}"),
            Listen::Tls(address) => write!(f, "tls:{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A proxy that is trusted: an address, a network, or whoever connects to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// `10.0.0.7` or `10.0.0.0/8`.
    Network(IpNet),
    /// `unix`.
    Unix,
}

impl FromStr for Proxy {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if text == "unix" {
            return Ok(Proxy::Unix);
        }
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse::<IpNet>());
        network.map(Proxy::Network).map_err(|_| {
            UnitError(format!(
                "{text:?} is no address or network; write \"10.0.0.7\", \"10.0.0.0/8\" or \"unix\""
            ))
        })
    }
}

/// What a proxy puts before every path: `/larder`, or `/`, which is kept as nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(pub String);

impl FromStr for BasePath {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let path = text.trim().trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.is_empty() && (!path.starts_with('/') || path.contains("//") || !path.chars().all(plain)) {
            return Err(UnitError(format!(
                "{text:?} is no path; write \"/larder\", or \"/\" for none"
            )));
        }
        // Requests that come without it would be taken for something else.
        let first = path.split('/').nth(1).unwrap_or_default();
        if ["api", "livez", "readyz", "healthz", "metrics"].contains(&first) {
            return Err(UnitError(format!(
                "{text:?} begins with a path that Larder itself has"
            )));
        }
        Ok(BasePath(path.to_owned()))
    }
}

/// The mode of a file, in octal digits: `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match u32::from_str_radix(text.trim(), 8) {
            Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
            _ => Err(UnitError(format!("{text:?} is no mode; write \"0660\""))),
        }
    }
}

/// Several values: a list, or one text with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl<T: FromStr> FromStr for Many<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Many)
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

impl<'de, T> Visitor<'de> for TextVisitor<T>
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

    /// A list is the text with commas between its items, which none of them has.
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        let mut texts: Vec<String> = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        self.visit_str(&texts.join(","))
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
    fn addresses_say_what_is_spoken_there() {
        let here = "127.0.0.1:3000".parse().unwrap();
        assert_eq!("127.0.0.1:3000".parse(), Ok(Listen::Http(here)));
        assert_eq!("tls:127.0.0.1:3000".parse(), Ok(Listen::Tls(here)));
        assert_eq!("unix:/run/l.sock".parse(), Ok(Listen::Unix("/run/l.sock".into())));
        for wrong in [
            "",
            "localhost:3000",
            "tls:",
            "unix:",
            "unix:l.sock",
            "http://127.0.0.1:3000",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
        let many: Many<Listen> = "127.0.0.1:3000, unix:/run/l.sock,".parse().unwrap();
        assert_eq!(many.0, [Listen::Http(here), Listen::Unix("/run/l.sock".into())]);
        for text in ["127.0.0.1:3000", "tls:[::1]:1", "unix:/x"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn proxies_paths_and_modes() {
        assert_eq!("unix".parse(), Ok(Proxy::Unix));
        assert!("10.0.0.0/8".parse::<Proxy>().is_ok() && "::1".parse::<Proxy>().is_ok());
        assert!("10.0.0.0/33".parse::<Proxy>().is_err() && "proxy".parse::<Proxy>().is_err());
        for (text, path) in [("", ""), ("/", ""), ("/a/b/", "/a/b")] {
            assert_eq!(text.parse(), Ok(BasePath(path.to_owned())));
        }
        for wrong in ["a", "/a b", "//a", "/api", "/api/x", "/metrics/x", "/a?b"] {
            assert!(wrong.parse::<BasePath>().is_err(), "{wrong}");
        }
        assert_eq!("0660".parse(), Ok(Mode(0o660)));
        assert!("rw".parse::<Mode>().is_err() && "7777".parse::<Mode>().is_err());
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
