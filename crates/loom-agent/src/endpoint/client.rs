//! A caller's own way out: an HTTP client of theirs, or anything that answers HTTP requests.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use loom_wire::{ErrorKind, LlmError};

use super::credential::CallbackError;
use super::response::Response;
use super::sent::Sent;

/// The bytes of an answer as they come. Dropping it ends the request.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, CallbackError>> + Send>>;

/// Brings a request to where it leads and the answer back: a client with its own middleware, a test's stand-in.
///
/// It gets each request complete, repetitions included, and follows no redirects: that is decided above it. It keeps
/// no clocks either; a future that is dropped is a request that is given up.
///
/// ```
/// use bytes::Bytes;
/// use futures_util::{FutureExt, future::BoxFuture, stream};
/// use loom::endpoint::{ByteStream, CallbackError, Transport};
///
/// struct Canned;
///
/// impl Transport for Canned {
///     fn send(&self, _: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<ByteStream>, CallbackError>> {
///         let body = r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#;
///         let body: ByteStream = Box::pin(stream::iter([Ok(Bytes::from(body))]));
///         async { Ok(http::Response::new(body)) }.boxed()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), loom::LlmError> {
/// let llm = loom::UnifiedLlm::builder().base_url("http://llm.example/v1").model("m").transport(Canned).build()?;
/// let completion = llm.generate(loom::Request::new(vec![loom::Message::user("hi")])).await?;
/// assert_eq!(completion.content, "hello");
/// # Ok(())
/// # }
/// ```
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and waits for the head of the answer.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<ByteStream>, CallbackError>>;
}

/// A caller's own way out.
#[derive(Clone)]
pub enum HttpClient {
    /// A client of reqwest's. It should follow no redirects: it would carry the prompt elsewhere.
    Reqwest(reqwest::Client),
    /// Anything else.
    Transport(Arc<dyn Transport>),
}

impl From<reqwest::Client> for HttpClient {
    fn from(client: reqwest::Client) -> Self {
        Self::Reqwest(client)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// Sends a request through a transport.
pub(super) async fn send(transport: &dyn Transport, request: &Sent) -> Result<Response, LlmError> {
    let request = request.http()?;
    let response = transport.send(request).await.map_err(|error| match error.downcast::<LlmError>() {
        Ok(known) => *known,
        Err(error) => {
            LlmError::new(ErrorKind::Connection, format!("the HTTP client that was given failed: {error}"))
        }
    })?;
    // A body is asked once more behind its end, which not every stream bears.
    let response = response.map(|body| reqwest::Body::wrap_stream(body.fuse()));
    Ok(reqwest::Response::from(response).into())
}
