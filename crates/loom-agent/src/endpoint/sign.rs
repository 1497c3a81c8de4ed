//! The hook that signs requests, for gateways that want an HMAC or the like over what is sent.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use loom_wire::{ErrorKind, LlmError};

use super::credential::CallbackError;
use super::header::{Headers, header_name, header_value};
use super::secrets::Secrets;
use super::sent::Sent;

/// A request as a signer sees it: complete, each header as it is sent.
#[derive(Clone)]
#[non_exhaustive]
pub struct Unsigned {
    /// `POST`, or `GET` for the list of models.
    pub method: String,
    /// The whole URL, its query included.
    pub url: String,
    /// The headers, names in lower case. They may hold the key.
    pub headers: Vec<(String, String)>,
    /// The body; empty for `GET`.
    pub body: Bytes,
}

impl fmt::Debug for Unsigned {
    /// Without URL, headers and body: they hold key and prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsigned").field("method", &self.method).finish_non_exhaustive()
    }
}

type Function = dyn Fn(Unsigned) -> BoxFuture<'static, Result<Headers, CallbackError>> + Send + Sync;

/// A function that is shown each request, repetitions included, and says which headers to add; a value of `None`
/// removes one.
#[derive(Clone)]
pub struct Signer(Arc<Function>);

impl Signer {
    /// A signer.
    pub fn new<F, Fut>(function: F) -> Self
    where
        F: Fn(Unsigned) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Headers, CallbackError>> + Send + 'static,
    {
        Self(Arc::new(move |request| function(request).boxed()))
    }

    pub(super) async fn sign(&self, request: &mut Sent, secrets: &Secrets) -> Result<(), LlmError> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let unsigned = Unsigned {
            method: request.method.to_string(),
            url: request.url.to_string(),
            headers: request.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: request.body.clone(),
        };
        let added = (self.0)(unsigned).await.map_err(|error| {
            LlmError::new(ErrorKind::Auth, format!("the signing function failed: {error}"))
        })?;
        secrets.learn_headers(&added);
        for (name, value) in added {
            let key = header_name(&name)?;
            match value {
                Some(value) => request.headers.insert(key, header_value(&name, &value)?),
                None => request.headers.remove(key),
            };
        }
        Ok(())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}
