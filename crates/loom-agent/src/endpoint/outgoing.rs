//! A request before it is sent: Loom's own headers, the endpoint's, the call's, and the key.

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use loom_wire::LlmError;
use secrecy::ExposeSecret;
use url::Url;

use super::credential::Shown;
use super::header::{Headers, header_name, header_value};
use super::sent::Sent;

/// What Loom calls itself. Nothing else about the caller's machine is told.
const OWN_NAME: &str = concat!("loom/", env!("CARGO_PKG_VERSION"));

/// Headers and query parameters that a caller adds, or headers that are left out.
#[derive(Default)]
pub(crate) struct Additions {
    set: HeaderMap,
    removed: Vec<HeaderName>,
    query: Vec<(String, String)>,
}

impl Additions {
    /// # Errors
    /// `config` for a header that cannot be sent.
    pub(crate) fn new(headers: &Headers, query: Vec<(String, String)>) -> Result<Self, LlmError> {
        let mut additions = Self { query, ..Self::default() };
        for (name, value) in headers {
            let key = header_name(name)?;
            // The last word counts.
            additions.removed.retain(|removed| *removed != key);
            match value {
                Some(value) => drop(additions.set.insert(key, header_value(name, value)?)),
                None => {
                    additions.set.remove(&key);
                    additions.removed.push(key);
                }
            }
        }
        Ok(additions)
    }

    fn apply(&self, headers: &mut HeaderMap) {
        if !self.set.is_empty() {
            headers.extend(self.set.clone());
        }
        for name in &self.removed {
            headers.remove(name);
        }
    }
}

/// A request but for the key.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) body: Option<Bytes>,
    /// Whether the answer is wanted as it comes.
    pub(super) stream: bool,
    /// The endpoint's additions.
    pub(super) own: &'a Additions,
    /// The call's, which win.
    pub(super) call: &'a Additions,
}

impl Outgoing<'_> {
    /// The URL with the parameters that go along.
    pub(super) fn with_query(&self, mut url: Url) -> Url {
        for additions in [self.own, self.call].into_iter().filter(|additions| !additions.query.is_empty()) {
            url.query_pairs_mut().extend_pairs(&additions.query);
        }
        url
    }

    /// The request to this URL with this key.
    pub(super) fn request(&self, url: &Url, key: Option<&Shown>) -> Sent {
        let mut headers = HeaderMap::with_capacity(8);
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let accepted = if self.stream { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        headers.insert(USER_AGENT, HeaderValue::from_static(OWN_NAME));
        // Compressing proxies hold tokens back; what comes compressed all the same is decoded.
        if self.stream {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(Shown::Header(name, value)) = key {
            headers.insert(name.clone(), value.clone());
        }
        self.own.apply(&mut headers);
        self.call.apply(&mut headers);
        let mut url = url.clone();
        if let Some(Shown::Query(name, key)) = key
            && !url.query_pairs().any(|(known, _)| known == name.as_str())
        {
            url.query_pairs_mut().append_pair(name, key.expose_secret());
        }
        let body = self.body.clone().unwrap_or_default();
        Sent { method: self.method.clone(), url, headers, body, basic_user: None }
    }
}
