//! How an endpoint is reached: certificates, proxy, names, HTTP version. Each setting is for one endpoint.

use std::net::IpAddr;
use std::path::PathBuf;

use loom_wire::LlmError;
use serde::Deserialize;

use super::proxy::Proxy;
use super::tls::{Tls, TlsVersion};

/// How an endpoint is reached. What is not set is the environment's or the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Network {
    /// A PEM file with certificates of authorities that are trusted besides the system's.
    pub verify: Option<PathBuf>,
    /// The client's certificate and key as PEM files, or one file with both.
    pub cert: Option<ClientCert>,
    /// The lowest version of TLS that is spoken. Default 1.2.
    pub min_tls_version: Option<TlsVersion>,
    /// Takes any certificate from anyone. Whoever is on the way can then read the key and the prompt.
    pub dangerously_skip_verify: bool,
    /// The proxy, such as `http://user:password@proxy:3128` or `socks5h://proxy:1080`; `direct` for none, whatever the
    /// environment says. Default: the environment's.
    pub proxy: Option<Proxy>,
    /// Addresses of names, instead of asking the resolver.
    pub resolve: Vec<(String, IpAddr)>,
    /// Whether HTTP/2 is spoken with servers that offer it. Default true.
    pub http2: Option<bool>,
}

/// Where the client's certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "cert is a PEM file with certificate and key, or a pair of both")]
pub enum ClientCert {
    /// One PEM file with both.
    Both(PathBuf),
    /// The certificate, with those of its issuers, and the key.
    Pair(PathBuf, PathBuf),
}

impl Network {
    /// Fills what is not set from another.
    pub(crate) fn fill(&mut self, from: &Self) {
        fn fill<T: Clone>(slot: &mut Option<T>, from: &Option<T>) {
            if slot.is_none() {
                slot.clone_from(from);
            }
        }
        fill(&mut self.verify, &from.verify);
        fill(&mut self.cert, &from.cert);
        fill(&mut self.min_tls_version, &from.min_tls_version);
        fill(&mut self.proxy, &from.proxy);
        fill(&mut self.http2, &from.http2);
        self.dangerously_skip_verify |= from.dangerously_skip_verify;
        if self.resolve.is_empty() {
            self.resolve.clone_from(&from.resolve);
        }
    }

    /// Whether anything is set.
    pub(super) fn is_set(&self) -> bool {
        let Self { verify, cert, min_tls_version, dangerously_skip_verify, proxy, resolve, http2 } = self;
        verify.is_some()
            || cert.is_some()
            || min_tls_version.is_some()
            || *dangerously_skip_verify
            || proxy.is_some()
            || !resolve.is_empty()
            || http2.is_some()
    }

    /// Reads the files.
    pub(super) fn tls(&self) -> Result<Tls, LlmError> {
        if self.verify.is_some() && self.dangerously_skip_verify {
            return Err(LlmError::config(
                "verify and dangerously_skip_verify contradict each other: give one",
            ));
        }
        Tls::read(self)
    }
}
