//! Documents of an issuer, over HTTP.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::issuer::is_loopback;

/// Longest document, in bytes.
const MAX_DOCUMENT: u64 = 256 * 1024;
/// A fetch takes at most this long, and connecting half of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where documents come from. Blocks.
pub(super) trait Fetch: Send + Sync {
    /// The document at a URL that has been checked.
    ///
    /// # Errors
    /// What went wrong, for the log.
    fn get(&self, url: &str) -> Result<Vec<u8>, String>;
}

/// The network.
pub(super) struct Network {
    roots: RootCerts,
}

impl Network {
    /// Believes servers with certificates by these authorities, in PEM; `None`: by the public ones.
    pub(super) fn believing(authorities: Option<&str>) -> Self {
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        };
        let roots = match authorities {
            None => RootCerts::WebPki,
            Some(pem) => {
                let believed: Vec<_> = parse_pem(pem.as_bytes()).filter_map(certificate).collect();
                RootCerts::new_with_certs(&believed)
            }
        };
        Network { roots }
    }
}

impl Fetch for Network {
    fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let local = is_loopback(rest.split(['/', '?']).next().unwrap_or_default());
        let mut config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE / 2))
            // Where it leads to was not checked.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .https_only(!(local && scheme == "http"))
            .tls_config(TlsConfig::builder().root_certs(self.roots.clone()).build())
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")));
        if local {
            // The environment's proxy is for other machines.
            config = config.proxy(None);
        }
        let answer = Agent::new_with_config(config.build()).get(url).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            200 => answer
                .body_mut()
                .with_config()
                .limit(MAX_DOCUMENT)
                .read_to_vec()
                .map_err(|error| error.to_string()),
            status => Err(format!("the answer has status {status}")),
        }
    }
}
