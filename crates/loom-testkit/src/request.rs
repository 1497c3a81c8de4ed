//! What a server saw: one request, kept exactly as it came.

use serde_json::Value;

/// One request that a [`Server`](crate::Server) or a [`Proxy`](crate::Proxy) received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The method, as sent: `POST`.
    pub method: String,
    /// The request target, as sent: path and query, or the authority of a `CONNECT`.
    pub target: String,
    /// The target up to the first `?`.
    pub path: String,
    /// The target after the first `?`, without it; empty if there is none.
    pub query: String,
    /// The headers in the order and the spelling in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, with the framing (`Content-Length` or chunks) taken off.
    pub body: Vec<u8>,
    /// Which TCP connection of the server it came on, counted from 0.
    pub connection: usize,
    /// HTTP/1.0 knows neither keep-alive by default nor chunks, so the answer depends on it.
    pub(crate) http_1_0: bool,
}

impl RecordedRequest {
    /// The value of the first header of this name, in any spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; [`Value::Null`] if it is not JSON, so that a test can index into it without
    /// ceremony.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether the comma-separated header `name` lists `token`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// Whether the client wants the connection kept for its next request.
    pub(crate) fn keeps_alive(&self) -> bool {
        if self.http_1_0 {
            self.lists("connection", "keep-alive")
        } else {
            !self.lists("connection", "close")
        }
    }
}
