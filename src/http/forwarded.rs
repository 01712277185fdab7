//! What a reverse proxy says about the client behind it. Only proxies that are trusted are believed: anybody can send
//! these headers.

use std::net::IpAddr;
use std::str::FromStr;

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Which headers the proxies write. The others are ignored: a proxy hands on what clients wrote there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// A way of forwarding that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of header; write \"x-forwarded\" or \"forwarded\"")]
pub struct UnknownHeaders(String);

impl FromStr for ForwardedHeaders {
    type Err = UnknownHeaders;

    fn from_str(text: &str) -> Result<Self, UnknownHeaders> {
        match text {
            "x-forwarded" => Ok(ForwardedHeaders::XForwarded),
            "forwarded" => Ok(ForwardedHeaders::Forwarded),
            other => Err(UnknownHeaders(other.to_owned())),
        }
    }
}

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// By address.
    pub networks: Vec<IpNet>,
    /// Whoever connects to a Unix socket.
    pub unix: bool,
    /// What they write.
    pub headers: ForwardedHeaders,
}

/// What is known about the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Its address.
    pub client: Option<IpAddr>,
    /// Whether it speaks TLS.
    pub secure: Option<bool>,
    /// The host it asked for.
    pub host: Option<&'a str>,
}

impl Proxies {
    /// What the proxies say; nothing if `peer` is not one of them. `None` as a peer is a Unix socket.
    pub fn read<'a>(&self, headers: &'a HeaderMap, peer: Option<IpAddr>) -> Forwarded<'a> {
        if !self.trusts(peer) {
            return Forwarded {
                client: peer,
                ..Forwarded::default()
            };
        }
        match self.headers {
            ForwardedHeaders::XForwarded => self.x_forwarded(headers, peer),
            ForwardedHeaders::Forwarded => self.forwarded(headers, peer),
        }
    }

    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer.map(|ip| ip.to_canonical()) {
            Some(ip) => self.networks.iter().any(|network| network.contains(&ip)),
            None => self.unix,
        }
    }

    /// The last of these addresses that is not a proxy's: each proxy adds who it was connected to at the end.
    fn nearest(
        &self,
        peer: Option<IpAddr>,
        addresses: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut client = peer;
        for address in addresses.rev() {
            // What is no address cannot be gone behind.
            let Some(address) = address else { break };
            client = Some(address);
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn x_forwarded<'a>(&self, headers: &'a HeaderMap, peer: Option<IpAddr>) -> Forwarded<'a> {
        let addresses: Vec<_> = items(headers, FORWARDED_FOR).map(address).collect();
        Forwarded {
            client: self.nearest(peer, addresses.into_iter()),
            secure: items(headers, FORWARDED_PROTO).last().map(is_https),
            host: items(headers, FORWARDED_HOST).last(),
        }
    }

    fn forwarded<'a>(&self, headers: &'a HeaderMap, peer: Option<IpAddr>) -> Forwarded<'a> {
        let values = headers.get_all(FORWARDED).filter_map(|value| value.to_str().ok());
        let elements: Vec<Element<'a>> = values
            .flat_map(|value| split(value, b','))
            .map(Element::parse)
            .collect();
        let last = |of: fn(&Element<'a>) -> Option<&'a str>| elements.iter().rev().find_map(of);
        let addresses = elements.iter().map(|element| element.client.and_then(address));
        Forwarded {
            client: self.nearest(peer, addresses),
            secure: last(|element| element.proto).map(is_https),
            host: last(|element| element.host),
        }
    }
}

/// The items of a list that may be spread over several header lines.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn is_https(proto: &str) -> bool {
    proto.eq_ignore_ascii_case("https")
}

/// An address with or without a port, an IPv6 one perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (ip, _) = inside.split_once(']')?;
        return ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    }
    let (ip, _) = text.split_once(':')?;
    ip.parse().ok()
}

/// One proxy's part of a `Forwarded` header.
#[derive(Default)]
struct Element<'a> {
    client: Option<&'a str>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    fn parse(text: &'a str) -> Self {
        let mut element = Element::default();
        for pair in split(text, b';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            // Nothing of interest has an escaped character in it.
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => element.client = Some(value),
                "proto" => element.proto = Some(value),
                "host" => element.host = Some(value),
                _ => {}
            }
        }
        element
    }
}

/// Splits at a separator that is not within quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && c == char::from(separator)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn proxies(headers: ForwardedHeaders) -> Proxies {
        Proxies {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            unix: true,
            headers,
        }
    }

    fn headers(lines: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append((*name).clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn client(peer: Option<&str>, forwarded_for: &str) -> Option<String> {
        let peer = peer.map(|peer| peer.parse().unwrap());
        let headers = headers(&[(&FORWARDED_FOR, forwarded_for)]);
        let read = proxies(ForwardedHeaders::XForwarded).read(&headers, peer);
        read.client.map(|ip| ip.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        #[rustfmt::skip]
        let rows = [
            (Some("10.0.0.1"), "192.0.2.7", Some("192.0.2.7")),
            (Some("10.0.0.1"), "6.6.6.6, 192.0.2.7", Some("192.0.2.7")),
            (Some("10.0.0.1"), "192.0.2.7, 10.2.2.2", Some("192.0.2.7")),
            (Some("10.0.0.1"), "192.0.2.7:4711", Some("192.0.2.7")),
            (Some("10.0.0.1"), "[2001:db8::1]:4711", Some("2001:db8::1")),
            (Some("10.0.0.1"), "2001:db8::1", Some("2001:db8::1")),
            (Some("10.0.0.1"), "6.6.6.6, nonsense, 10.2.2.2", Some("10.2.2.2")),
            (Some("10.0.0.1"), "", Some("10.0.0.1")),
            (Some("::ffff:10.0.0.1"), "192.0.2.7", Some("192.0.2.7")),
            (Some("fd00::1"), "192.0.2.7", Some("192.0.2.7")),
            (None, "192.0.2.7", Some("192.0.2.7")),
            // Nobody else is believed.
            (Some("192.0.2.1"), "6.6.6.6", Some("192.0.2.1")),
        ];
        for (peer, sent, expected) in rows {
            assert_eq!(client(peer, sent).as_deref(), expected, "{peer:?} {sent}");
        }
    }

    #[test]
    fn scheme_and_host_come_from_the_nearest_proxy() {
        let sent = headers(&[
            (&FORWARDED_PROTO, "http"),
            (&FORWARDED_PROTO, "HTTPS"),
            (&FORWARDED_HOST, "evil.test, larder.test"),
        ]);
        let read = proxies(ForwardedHeaders::XForwarded).read(&sent, None);
        assert_eq!((read.secure, read.host), (Some(true), Some("larder.test")));
        let untrusted = proxies(ForwardedHeaders::XForwarded).read(&sent, Some("192.0.2.1".parse().unwrap()));
        assert_eq!((untrusted.secure, untrusted.host), (None, None));
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_written() {
        let sent = headers(&[
            (
                &FORWARDED,
                "for=6.6.6.6;proto=http, for=\"[2001:db8::1]:4711\";proto=https;host=\"larder.test:8443\"",
            ),
            (&FORWARDED, "For=10.3.3.3"),
            (&FORWARDED_FOR, "7.7.7.7"),
        ]);
        let read = proxies(ForwardedHeaders::Forwarded).read(&sent, None);
        let expected = Forwarded {
            client: Some("2001:db8::1".parse().unwrap()),
            secure: Some(true),
            host: Some("larder.test:8443"),
        };
        assert_eq!(read, expected);
        let hidden = headers(&[(&FORWARDED, "for=_hidden, for=10.3.3.3")]);
        let read = proxies(ForwardedHeaders::Forwarded).read(&hidden, None);
        assert_eq!(read.client, Some("10.3.3.3".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn any_header_is_understood_somehow(value in "[ -~]{0,80}") {
            let sent = headers(&[(&FORWARDED, &value), (&FORWARDED_FOR, &value)]);
            for kind in [ForwardedHeaders::Forwarded, ForwardedHeaders::XForwarded] {
                let _ = proxies(kind).read(&sent, None);
            }
        }
    }
}
