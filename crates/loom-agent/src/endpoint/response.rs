//! The head of an answer and its body, whichever client brought them.

use std::fmt;
use std::mem;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower_http::decompression::DecompressionBody;

use super::failure::Failure;

/// An answer under way. Dropping it ends the request.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Body,
}

enum Body {
    Straight(Box<DecompressionBody<Incoming>>),
    /// Its headers are taken out.
    Reqwest(reqwest::Response),
}

impl Response {
    /// More bytes, or `None` at a clean end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.body {
            Body::Straight(body) => {
                while let Some(frame) = body.frame().await {
                    // Trailers say nothing that is wanted.
                    if let Ok(bytes) = frame.map_err(Failure::Straight)?.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None)
            }
            Body::Reqwest(response) => response.chunk().await.map_err(Failure::Reqwest),
        }
    }
}

impl From<http::Response<DecompressionBody<Incoming>>> for Response {
    fn from(response: http::Response<DecompressionBody<Incoming>>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status, headers: head.headers, body: Body::Straight(Box::new(body)) }
    }
}

impl From<reqwest::Response> for Response {
    fn from(mut response: reqwest::Response) -> Self {
        let headers = mem::take(response.headers_mut());
        Self { status: response.status(), headers, body: Body::Reqwest(response) }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}
