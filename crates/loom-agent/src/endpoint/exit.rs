//! The one way out: every request of an endpoint leaves here, those for tokens included.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loom_wire::{ErrorKind, Link, LlmError};
use tokio::time::Instant;
use url::Url;

use super::base_url::BaseUrl;
use super::client::{self, HttpClient};
use super::clocks::Clocks;
use super::environment::{Environment, Via};
use super::failure::Failure;
use super::network::Network;
use super::response::Response;
use super::sent::Sent;
use super::transport::{self, Client, Kind, Way};

/// A connection that the server has closed shows it as soon as something is sent on it: after one way there and back.
const STALE: Duration = Duration::from_secs(2);

/// How requests leave.
pub(super) struct Exit {
    /// The caller's own client, instead of Loom's.
    given: Option<HttpClient>,
    way: Arc<Way>,
    /// The client that was used last, with the runtime and the process that it belongs to, and its kind.
    used: Mutex<Option<(tokio::runtime::Id, u32, Kind, Client)>>,
    /// There has been an answer, so that connections may be kept.
    answered: AtomicBool,
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
            environment: Environment::read(),
            tls: network.tls()?,
            proxy: network.proxy.as_ref().map(|proxy| proxy.url().map(str::to_owned)),
            resolve: (network.resolve.iter())
                .map(|(name, address)| Ok((as_in_url(name)?, *address)))
                .collect::<Result<_, LlmError>>()?,
            http2: network.http2.unwrap_or(true),
            socket: base.socket().map(ToOwned::to_owned),
        };
        Ok(Self { given, way: Arc::new(way), used: Mutex::new(None), answered: AtomicBool::new(false) })
    }

    /// Whether anyone's certificate is taken.
    pub(super) fn skips_verification(&self) -> bool {
        self.way.tls.skip_verify
    }

    /// How it is reached.
    pub(super) fn way(&self) -> &Arc<Way> {
        &self.way
    }

    /// A URL for people.
    pub(super) fn shown(&self, url: &Url) -> String {
        self.way.shown(url)
    }

    /// The proxy on the way to a URL, if it can be used and is Loom's to choose.
    pub(super) fn via(&self, url: &Url) -> Option<Via> {
        if self.given.is_some() { None } else { self.way.via(url).ok().flatten() }
    }

    /// Sends a request and waits for the head of the answer, within the clocks.
    ///
    /// Where connections may be kept from earlier calls and one turns out to have been closed before anything of an answer
    /// came, the request is sent once more: it has not reached anybody. It is no try of the call.
    pub(super) async fn send(&self, request: &Sent, clocks: &Clocks) -> Result<Response, LlmError> {
        let url = &request.url;
        let result = match &self.given {
            Some(HttpClient::Transport(transport)) => {
                let result = clocks.wait(client::send(transport.as_ref(), request)).await.map_err(unanswered);
                result.and_then(|result| result)
            }
            _ => {
                let via = if self.given.is_some() { None } else { self.way.via(url)? };
                let client = self.client(url, via.as_ref())?;
                let started = Instant::now();
                let mut may_be_kept = self.given.is_none() && self.answered.load(Ordering::Relaxed);
                loop {
                    let sent = clocks.wait(client.execute(request)).await;
                    match sent.map_err(unanswered).and_then(|sent| sent) {
                        Ok(Ok(response)) => {
                            self.answered.store(true, Ordering::Relaxed);
                            break Ok(response);
                        }
                        Ok(Err(error)) => {
                            let was_kept = std::mem::take(&mut may_be_kept);
                            if !(was_kept && error.is_closed() && started.elapsed() < STALE) {
                                break Err(self.explain(&error, url, via.as_ref()));
                            }
                            tracing::debug!(target: "loom", "the server had closed the connection; using another");
                        }
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        result.map_err(|mut error| {
            error.url.get_or_insert_with(|| self.shown(url));
            error
        })
    }

    fn client(&self, url: &Url, via: Option<&Via>) -> Result<Client, LlmError> {
        if let Some(HttpClient::Reqwest(client)) = &self.given {
            return Ok(Client::Reqwest(client.clone()));
        }
        let kind = self.way.kind(url, via);
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| {
                LlmError::config("Loom needs a tokio runtime: call it within #[tokio::main] or block_on")
            })?
            .id();
        let process = std::process::id();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.as_ref() {
            Some((at, of, known, client)) if (*at, *of, *known) == (runtime, process, kind) => {
                Ok(client.clone())
            }
            _ => {
                let client = transport::client(&self.way, runtime, kind)?;
                *used = Some((runtime, process, kind, client.clone()));
                Ok(client)
            }
        }
    }

    fn explain(&self, error: &Failure, url: &Url, via: Option<&Via>) -> LlmError {
        if let Some(socket) = self.way.socket.as_ref().filter(|_| error.is_connect()) {
            let causes = error.chain();
            let message = format!("no connection to the socket {}: {causes}", socket.display());
            return LlmError::new(ErrorKind::Connection, message)
                .with_link(Link::Tcp)
                .with_hint("is the server running, and may this user open its socket?");
        }
        // A client that was given has a clock of its own.
        error.explain(url, via, self.way.connect.filter(|_| self.given.is_none()))
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exit")
    }
}

/// A client for a URL that is no endpoint's, on the way that the environment names. It follows no redirects.
///
/// # Errors
/// `config` if the environment names a proxy or certificates that cannot be used.
#[cfg(feature = "mcp")]
pub(crate) fn client_for(url: &Url) -> Result<reqwest::Client, LlmError> {
    let base = BaseUrl::parse(url.as_str())?;
    let exit = Exit::new(&base, &Network::default(), None, Some(Duration::from_secs(10)))?;
    let is_tls = exit.way.kind(url, exit.way.via(url)?.as_ref()) == Kind::Tls;
    transport::build(&exit.way, is_tls)
}

/// A host's name as URLs have it: in lower case, and in ASCII (`bücher.example` is `xn--bcher-kva.example`).
fn as_in_url(name: &str) -> Result<String, LlmError> {
    let host = url::Host::parse(name);
    host.map(|host| host.to_string())
        .map_err(|error| LlmError::config(format!("resolve: {name:?} is no host's name: {error}")))
}

/// A clock ran out before the head of an answer had arrived.
fn unanswered(mut error: LlmError) -> LlmError {
    error.message.push_str(": the server had not begun to answer");
    error
}
