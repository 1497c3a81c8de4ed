//! A request complete with its key, and the forms that the clients want it in.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use loom_wire::LlmError;
use url::Url;

use super::visible;

/// A request as it is sent, secrets included. `Debug` shows none.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Empty: there is none.
    pub(crate) body: Bytes,
    /// The key is shown as basic authentication of this user; `""`: the key names him itself.
    pub(crate) basic_user: Option<String>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("url", &self.shown_url()).finish_non_exhaustive()
    }
}

impl Sent {
    pub(crate) fn shown_url(&self) -> String {
        visible(&self.url)
    }

    /// For hyper and transports.
    ///
    /// # Errors
    /// `config` if the URL is longer than can be sent.
    pub(super) fn http<B: From<Bytes>>(&self) -> Result<Request<B>, LlmError> {
        let mut request = Request::new(self.body.clone().into());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::try_from(self.url.as_str())
            .map_err(|error| LlmError::config(format!("the request cannot be sent: {error}")))?;
        self.headers.clone_into(request.headers_mut());
        Ok(request)
    }

    /// For reqwest.
    pub(super) fn reqwest(&self) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        self.headers.clone_into(request.headers_mut());
        *request.body_mut() = (!self.body.is_empty()).then(|| self.body.clone().into());
        request
    }
}
