//! The one way out: every request of an endpoint leaves here, those for tokens included.

use std::time::Duration;

use loom_wire::LlmError;
use reqwest::{Request, Response};

use super::base_url::visible;
use super::clocks::Clocks;
use super::{failure, transport};

/// How requests leave.
#[derive(Debug)]
pub(super) struct Exit {
    connect: Option<Duration>,
    /// Proxies and certificates as the environment named them when the endpoint was made.
    environment: transport::Environment,
}

impl Exit {
    pub(super) fn new(connect: Option<Duration>) -> Self {
        Self { connect, environment: transport::environment() }
    }

    /// Sends a request and waits for the head of the answer, within the clocks.
    pub(super) async fn send(&self, request: Request, clocks: &Clocks) -> Result<Response, LlmError> {
        let client = transport::client(self.connect, &self.environment)?;
        let url = request.url().clone();
        let result = clocks.wait(client.execute(request)).await;
        result.and_then(|result| result.map_err(|error| failure::explain(&error, &url))).map_err(
            |mut error| {
                error.url.get_or_insert_with(|| visible(&url));
                error
            },
        )
    }
}
