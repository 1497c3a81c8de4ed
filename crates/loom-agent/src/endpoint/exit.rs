//! The one way out: every request of an endpoint leaves here, those for tokens included.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loom_wire::{ErrorKind, LlmError};
use reqwest::{Client, Request, Response, Url};

use super::base_url::{BaseUrl, visible};
use super::client::{self, HttpClient};
use super::clocks::Clocks;
use super::network::Network;
use super::transport::{self, Way};
use super::{certificate, failure};

/// How requests leave.
pub(super) struct Exit {
    /// The caller's own client, instead of Loom's.
    given: Option<HttpClient>,
    way: Arc<Way>,
    /// The client that was used last, with the runtime and the process that it belongs to.
    used: Mutex<Option<(tokio::runtime::Id, u32, Client)>>,
}

impl Exit {
    /// # Errors
    /// `config` if a certificate or a key cannot be read.
    pub(super) fn new(
        base: &BaseUrl,
        network: &Network,
        given: Option<HttpClient>,
        connect: Option<Duration>,
    ) -> Result<Self, LlmError> {
        if given.is_some() && (network.is_set() || base.socket().is_some()) {
            return Err(LlmError::config(
                "http_client brings its own connections: proxy, certificates, addresses and sockets are set on it",
            ));
        }
        let way = Way {
            connect,
            environment: transport::environment(),
            tls: network.tls()?,
            // `*` means every host; reqwest takes it for names only.
            proxy: match &network.proxy {
                Some(proxy) => Some(proxy.url().map(str::to_owned)),
                None => transport::exempts_all().then_some(None),
            },
            resolve: network.resolve.iter().map(|(name, address)| (name.to_lowercase(), *address)).collect(),
            http2: network.http2.unwrap_or(true),
            socket: base.socket().map(ToOwned::to_owned),
        };
        Ok(Self { given, way: Arc::new(way), used: Mutex::new(None) })
    }

    /// Whether anyone's certificate is taken.
    pub(super) fn skips_verification(&self) -> bool {
        self.way.tls.skip_verify
    }

    /// A URL for people.
    pub(super) fn shown(&self, url: &Url) -> String {
        let shown = visible(url);
        match &self.way.socket {
            Some(socket) => shown.replacen("http://localhost", &super::base_url::socket_origin(socket), 1),
            None => shown,
        }
    }

    /// Sends a request and waits for the head of the answer, within the clocks.
    pub(super) async fn send(&self, request: Request, clocks: &Clocks) -> Result<Response, LlmError> {
        let url = request.url().clone();
        let result = match &self.given {
            Some(HttpClient::Transport(transport)) => {
                clocks.wait(client::send(transport.as_ref(), request)).await.and_then(|result| result)
            }
            _ => {
                let result = clocks.wait(self.client()?.execute(request)).await;
                result.and_then(|result| result.map_err(|error| self.explain(&error, &url)))
            }
        };
        result.map_err(|mut error| {
            error.url.get_or_insert_with(|| self.shown(&url));
            error
        })
    }

    fn client(&self) -> Result<Client, LlmError> {
        if let Some(HttpClient::Reqwest(client)) = &self.given {
            return Ok(client.clone());
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| {
                LlmError::config("Loom needs a tokio runtime: call it within #[tokio::main] or block_on")
            })?
            .id();
        let process = std::process::id();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.as_ref() {
            Some((at, of, client)) if (*at, *of) == (runtime, process) => Ok(client.clone()),
            _ => {
                let client = transport::client(&self.way, runtime)?;
                *used = Some((runtime, process, client.clone()));
                Ok(client)
            }
        }
    }

    fn explain(&self, error: &reqwest::Error, url: &Url) -> LlmError {
        if let Some(socket) = self.way.socket.as_ref().filter(|_| error.is_connect()) {
            let causes = failure::chain(error);
            let message = format!("no connection to the socket {}: {causes}", socket.display());
            return LlmError::new(ErrorKind::Connection, message)
                .with_hint("is the server running, and may this user open its socket?");
        }
        let place =
            url.port_or_known_default().map(|port| format!("{}:{port}", url.host_str().unwrap_or_default()));
        certificate::explain(error, &place.unwrap_or_default())
            .unwrap_or_else(|| failure::explain(error, url))
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exit")
    }
}
