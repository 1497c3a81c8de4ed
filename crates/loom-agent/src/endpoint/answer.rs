//! An answer under way: its head, its bytes as they come, and what a refusal says.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use loom_wire::limits::{self, Limits};
use loom_wire::{ErrorKind, LedgerEntry, LlmError, api_error};
use tokio::time::Sleep;
use url::Url;

use super::clocks::Clocks;
use super::environment::Via;
use super::response::Response;
use super::server::Seen;
use super::transport::Way;
use super::{advice, failure};

/// The most that is read of a refusal's body.
const MAX_ERROR_BODY: usize = 1 << 20;
/// How long the rest of a refusal's body is waited for: it is short, and mostly comes with its head.
const ERROR_BODY_PAUSE: Duration = Duration::from_secs(10);

/// How long the end of the framing is waited for once the answer is complete.
const REST_PAUSE: Duration = Duration::from_secs(1);
/// As many pieces behind a complete answer are read; who sends more loses the connection.
const REST_PIECES: usize = 16;

/// The head of a successful answer, and its bytes as they come. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The URL of the request that is answered.
    asked: Url,
    way: Arc<Way>,
    /// The server's name for the request.
    pub(crate) request_id: Option<String>,
    /// What was changed on the way, for the ledger.
    pub(crate) changes: Vec<LedgerEntry>,
    /// Where what the beginning gives away is noted, until it was.
    unknown_server: Option<Arc<Seen>>,
    response: Response,
    /// Of the clock that runs out next.
    timer: Option<Pin<Box<Sleep>>>,
    /// The framing's end was seen, or an error: there is nothing more to read.
    ended: bool,
}

impl Answer {
    pub(super) fn new(
        asked: &Url,
        way: Arc<Way>,
        response: Response,
        unknown_server: Option<Arc<Seen>>,
    ) -> Self {
        Self {
            asked: asked.clone(),
            way,
            request_id: request_id(&response.headers),
            changes: Vec::new(),
            unknown_server,
            response,
            timer: None,
            ended: false,
        }
    }

    /// The URL that answered, fit to be shown.
    pub(crate) fn url(&self) -> String {
        self.way.shown(&self.asked)
    }

    /// More bytes, or `None` at a clean end.
    pub(crate) async fn chunk(&mut self, clocks: &Clocks) -> Result<Option<Bytes>, LlmError> {
        let read = clocks.wait_again(&mut self.timer, self.response.chunk()).await?;
        self.ended = !matches!(read, Ok(Some(_)));
        let bytes = read.map_err(|error| {
            let causes = error.chain();
            LlmError::new(
                ErrorKind::StreamInterrupted,
                format!("the connection broke before the answer was complete: {causes}"),
            )
        })?;
        if let Some(bytes) = &bytes {
            // They lie in the buffer that was read first, which would live as long as the stream.
            let headers = mem::take(&mut self.response.headers);
            if let Some(server) = self.unknown_server.take() {
                server.look(&headers, bytes);
            }
        }
        Ok(bytes)
    }

    /// What stands behind a complete answer, the end of the framing: once it is read the connection can be used again. `None`
    /// if there is nothing more.
    pub(crate) fn rest(self) -> Option<Rest> {
        let Self { ended, mut response, .. } = self;
        (!ended).then(|| {
            let rest: Rest = Box::pin(async move {
                for _ in 0..REST_PIECES {
                    if !matches!(response.chunk().await, Ok(Some(_))) {
                        return;
                    }
                }
            });
            rest
        })
    }

    /// The whole body, if it is not larger than the limit.
    pub(super) async fn read_all(&mut self, limit: usize, clocks: &Clocks) -> Result<Vec<u8>, LlmError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(&clocks.flowing()).await? {
            body.extend_from_slice(&bytes);
            if body.len() > limit {
                return Err(LlmError::bad_response(format!("the answer is larger than {limit} bytes")));
            }
        }
        Ok(body)
    }

    /// The error that a refusal is, its body read.
    pub(super) async fn refusal(mut self, clocks: &Clocks, via: Option<&Via>) -> LlmError {
        let (mut body, headers) = (Vec::new(), self.response.headers.clone());
        // A body that breaks off or stands still says more than none.
        while let Ok(Ok(Some(bytes))) =
            tokio::time::timeout(ERROR_BODY_PAUSE, self.chunk(&clocks.flowing())).await
        {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_ERROR_BODY {
                break;
            }
        }
        let mut error = api_error::from_http(self.response.status.as_u16(), &body);
        advice::apply(&mut error, &headers, std::time::SystemTime::now());
        error.request_id = self.request_id.take().or(error.request_id.take());
        error.url = Some(self.url());
        // Over TLS, only the server's own answers arrive here; without it, the proxy's do as well.
        if let Some(via) = via {
            failure::of_the_proxy(&mut error, via);
        }
        error
    }
}

/// Reads what stands behind a complete answer, as far as that is not much.
pub(crate) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Goes on reading the rest of an answer in the background, not for long.
pub(crate) fn read_on(rest: Rest) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { tokio::time::timeout(REST_PAUSE, rest).await });
    }
}

/// Refuses more headers than the limits allow.
pub(super) fn check_headers(headers: &HeaderMap, limits: &Limits) -> Result<(), LlmError> {
    if headers.len() > limits.header_count {
        let what = format!("the answer has more than {} headers", limits.header_count);
        return Err(limits::passed(what, "header_count"));
    }
    // A line of a header is its name, its value, and four bytes around them.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_bytes {
        let what = format!("the headers of the answer are larger than {} bytes", limits.header_bytes);
        return Err(limits::passed(what, "header_bytes"));
    }
    Ok(())
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    const NAMES: [HeaderName; 5] = [
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("request-id"),
        HeaderName::from_static("x-requestid"),
        HeaderName::from_static("x-generation-id"),
        HeaderName::from_static("x-trace-id"),
    ];
    NAMES.iter().find_map(|name| headers.get(name)).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
