//! The one way out: every request of an endpoint leaves here, those for tokens included.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use loom_wire::LlmError;
use reqwest::{Client, Request, Response};

use super::base_url::visible;
use super::clocks::Clocks;
use super::{failure, transport};

/// How requests leave.
#[derive(Debug)]
pub(super) struct Exit {
    connect: Option<Duration>,
    /// Proxies and certificates as the environment named them when the endpoint was made.
    environment: transport::Environment,
    /// The client of the runtime that asked last, so that it is not looked up for each request.
    last: Mutex<Option<(tokio::runtime::Id, Client)>>,
}

impl Exit {
    pub(super) fn new(connect: Option<Duration>) -> Self {
        Self { connect, environment: transport::environment(), last: Mutex::new(None) }
    }

    fn client(&self) -> Result<Client, LlmError> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| {
                LlmError::config("Loom needs a tokio runtime: call it within #[tokio::main] or block_on")
            })?
            .id();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((owner, client)) = &*last
            && *owner == runtime
        {
            return Ok(client.clone());
        }
        let client = transport::client(runtime, self.connect, &self.environment)?;
        *last = Some((runtime, client.clone()));
        Ok(client)
    }

    /// Sends a request and waits for the head of the answer, within the clocks.
    pub(super) async fn send(&self, request: Request, clocks: &Clocks) -> Result<Response, LlmError> {
        let client = self.client()?;
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
