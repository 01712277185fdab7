//! The head of a request: everything that is known before its body.

use std::net::IpAddr;

use actix_web::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, TRANSFER_ENCODING,
};
use actix_web::http::{Method, Uri, Version};
use actix_web::{HttpMessage, HttpRequest};
use percent_encoding::percent_decode_str;

use super::connection::Outlet;
use super::fields::BadField;
use super::request_log::Record;
use crate::access::Credentials;

/// What handlers and the `Expect` handler decide on. Borrowed, cheap to copy.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, as sent.
    pub uri: &'a Uri,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Who is at the other end of the connection.
    pub peer: Option<IpAddr>,
    /// The way to the connection past the dispatcher; none where the request came another way.
    pub outlet: Option<&'a Outlet>,
    /// What is written down about the request, if anything.
    pub record: Option<&'a Record>,
}

impl<'a> From<&'a HttpRequest> for Head<'a> {
    fn from(request: &'a HttpRequest) -> Self {
        Head {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            peer: request.peer_addr().map(|address| address.ip()),
            outlet: request.conn_data(),
            record: None,
        }
    }
}

impl<'a> From<&'a actix_http::Request> for Head<'a> {
    fn from(request: &'a actix_http::Request) -> Self {
        Head {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            peer: request.peer_addr().map(|address| address.ip()),
            outlet: request.conn_data(),
            record: None,
        }
    }
}

impl<'a> Head<'a> {
    /// The same, with what is written down about it.
    pub fn recorded(self, record: Option<&'a Record>) -> Self {
        Head { record, ..self }
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

    /// A parameter of the query that is `true` or `false`; absent is false.
    pub fn query_flag(&self, field: &'static str) -> Result<bool, BadField> {
        let what = "true or false";
        match self.query(field).as_deref() {
            None | Some("" | "false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(BadField::Wrong { field, what }),
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

    /// Whether the body is a form of several parts.
    pub fn is_form(&self) -> bool {
        let value = self.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        let form = b"multipart/form-data";
        value
            .and_then(|value| value.get(..form.len()))
            .is_some_and(|kind| kind.eq_ignore_ascii_case(form))
    }

    /// The URL of this server as the client knows it, without a slash at the end.
    pub fn base_url(&self) -> String {
        let host = self.headers.get(HOST).and_then(|value| value.to_str().ok());
        let is_host_character = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let host = host.filter(|host| !host.is_empty() && host.chars().all(is_host_character));
        format!("http://{}", host.unwrap_or("localhost"))
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
