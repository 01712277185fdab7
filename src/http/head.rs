//! The head of a request: everything that is known before its body.

use std::net::IpAddr;

use actix_web::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, TRANSFER_ENCODING,
};
use actix_web::http::{Method, Uri, Version};
use actix_web::{HttpMessage, HttpRequest};
use percent_encoding::percent_decode_str;

use super::connection::Outlet;
use super::fields::BadField;
use super::options::Options;
use super::request_log::Record;
use super::trail::Trail;
use crate::access::Credentials;
use crate::telemetry::audit::Target;

/// Whether a body of this Content-Type is a form of several parts.
pub fn is_form(kind: &[u8]) -> bool {
    const FORM: &[u8] = b"multipart/form-data";
    kind.get(..FORM.len())
        .is_some_and(|kind| kind.eq_ignore_ascii_case(FORM))
}

/// What handlers and the `Expect` handler decide on. Borrowed, cheap to copy.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, as sent.
    pub uri: &'a Uri,
    /// Its path, without the base path, not decoded.
    pub path: &'a str,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Who sends it: the other end of the connection, or whom a trusted proxy names.
    pub peer: Option<IpAddr>,
    /// The way to the connection past the dispatcher; none where the request came another way.
    pub outlet: Option<&'a Outlet>,
    /// What the audit log will say.
    pub trail: Option<&'a Trail>,
    /// What is written down about the request, if anything.
    pub record: Option<&'a Record>,
    /// Whether the client speaks TLS, to us or to a trusted proxy.
    pub secure: bool,
    /// The host that a trusted proxy was asked for, if it says.
    pub forwarded_host: Option<&'a str>,
    /// See [`Options::base_path`].
    pub base_path: &'a str,
}

impl<'a> From<&'a HttpRequest> for Head<'a> {
    fn from(request: &'a HttpRequest) -> Self {
        Head {
            method: request.method(),
            uri: request.uri(),
            path: request.uri().path(),
            version: request.version(),
            headers: request.headers(),
            peer: request.peer_addr().map(|address| address.ip()),
            outlet: request.conn_data(),
            trail: None,
            record: None,
            secure: false,
            forwarded_host: None,
            base_path: "",
        }
    }
}

impl<'a> From<&'a actix_http::Request> for Head<'a> {
    fn from(request: &'a actix_http::Request) -> Self {
        Head {
            method: request.method(),
            uri: request.uri(),
            path: request.uri().path(),
            version: request.version(),
            headers: request.headers(),
            peer: request.peer_addr().map(|address| address.ip()),
            outlet: request.conn_data(),
            trail: None,
            record: None,
            secure: false,
            forwarded_host: None,
            base_path: "",
        }
    }
}

impl<'a> Head<'a> {
    /// The same, as it came in over `tls` or not, perhaps through one of the proxies.
    pub fn through(self, options: &'a Options, tls: bool) -> Self {
        let forwarded = options.proxies.read(self.headers, self.peer);
        Head {
            peer: forwarded.client,
            secure: forwarded.secure.unwrap_or(tls),
            forwarded_host: forwarded.host,
            path: options.without_base(self.uri.path()),
            base_path: &options.base_path,
            ..self
        }
    }

    /// The same, with what is written down about it.
    pub fn recorded(self, record: Option<&'a Record>) -> Self {
        Head { record, ..self }
    }

    /// The same, with what the audit log will say about it.
    pub fn audited(self, trail: Option<&'a Trail>) -> Self {
        Head { trail, ..self }
    }

    /// Has the audit log say which account or token it is about.
    pub fn about(&self, target: impl Into<Target>) {
        if let Some(trail) = self.trail {
            trail.about(target.into());
        }
    }

    /// Has the audit log name the fields that it sets.
    pub fn changes(&self, fields: Vec<&'static str>) {
        if let Some(trail) = self.trail {
            trail.changes(fields);
        }
    }

    /// The credentials it brings.
    pub fn credentials(&self, query_tokens: bool) -> Credentials {
        let authorization = self.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        Credentials::parse(authorization, self.uri.query().unwrap_or_default(), query_tokens)
    }

    /// The value of a parameter of the query, decoded; the first one counts.
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let (_, value) = pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)?;
        let value = value.replace('+', " ");
        Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
    }

    /// A parameter of the query that is `true` or `false`; absent is false, and a bare name is true.
    pub fn query_flag(&self, field: &'static str) -> Result<bool, BadField> {
        let what = "true or false";
        let mut pairs = self.uri.query().unwrap_or_default().split('&');
        if pairs.any(|pair| pair == field) {
            return Ok(true);
        }
        match self.query(field).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(given) => {
                let given = given.to_owned();
                Err(BadField::Wrong { field, what, given })
            }
        }
    }

    /// The length of the body, where it is announced.
    pub fn content_length(&self) -> Option<u64> {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return None;
        }
        self.headers
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// How its body is encoded, where it does not come as it is.
    pub fn encoding(&self) -> Option<String> {
        let encodings = self.headers.get_all(CONTENT_ENCODING);
        let named = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
        named
            .into_iter()
            .find(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
    }

    /// Whether the body is a form of several parts.
    pub fn is_form(&self) -> bool {
        let value = self.headers.get(CONTENT_TYPE);
        value.is_some_and(|value| is_form(value.as_bytes()))
    }

    /// The URL of this server as the client knows it, without a slash at the end.
    pub fn base_url(&self) -> String {
        let host = self.headers.get(HOST).and_then(|value| value.to_str().ok());
        let host = self.forwarded_host.or(host);
        let is_host_character = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let host = host.filter(|host| !host.is_empty() && host.chars().all(is_host_character));
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", host.unwrap_or("localhost"), self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[tokio::test]
    async fn the_host_is_repeated_only_if_it_is_one() {
        for (host, url) in [
            ("example.org:3000", "http://example.org:3000"),
            ("[::1]:80", "http://[::1]:80"),
            ("", "http://localhost"),
            ("a b", "http://localhost"),
            ("x\"; rm -rf /", "http://localhost"),
        ] {
            let request = TestRequest::get().insert_header((HOST, host)).to_http_request();
            assert_eq!(Head::from(&request).base_url(), url, "{host}");
        }
    }

    #[tokio::test]
    async fn a_flag_is_asked_for_clearly_or_refused() {
        for (query, expected) in [
            ("", Some(false)),
            ("other=1", Some(false)),
            ("dry_run", Some(true)),
            ("dry_run=true", Some(true)),
            ("a=b&dry_run=1&c", Some(true)),
            ("dry_run=false", Some(false)),
            ("dry_run=yes", None),
            ("dry_run=", None),
        ] {
            let request = TestRequest::with_uri(&format!("/?{query}")).to_http_request();
            assert_eq!(
                Head::from(&request).query_flag("dry_run").ok(),
                expected,
                "{query}"
            );
        }
    }

    #[tokio::test]
    async fn forms_are_told_by_their_type() {
        for (kind, form) in [
            ("multipart/form-data; boundary=x", true),
            ("Multipart/Form-Data", true),
            ("multipart/mixed", false),
            ("application/x-www-form-urlencoded", false),
            ("multi", false),
        ] {
            let request = TestRequest::get()
                .insert_header((CONTENT_TYPE, kind))
                .to_http_request();
            assert_eq!(Head::from(&request).is_form(), form, "{kind}");
        }
    }
}
