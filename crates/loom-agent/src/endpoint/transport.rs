//! The HTTP clients, each with its connection pool.
//!
//! Clients are shared by all endpoints that are reached the same way, so that an agent made per request still finds warm
//! connections. They are bound to the runtime they were made on, and made anew when the environment that names
//! proxies or certificates has changed.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use loom_wire::LlmError;
use url::Url;

use super::base_url::{socket_origin, visible};
use super::environment::{Environment, SETTING, Via};
use super::failure::{Failure, chain};
use super::resolver::Resolver;
use super::response::Response;
use super::sent::Sent;
use super::straight;
use super::tls::Tls;

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    runtime: tokio::runtime::Id,
    process: u32,
    way: Arc<Way>,
    kind: Kind,
}

/// How much stands between a client and its servers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Nothing: see [`straight`].
    Straight,
    /// A proxy or a socket.
    Plain,
    /// TLS, to the server or to its proxy.
    Tls,
}

/// A client of Loom's own, or the caller's. Clones share their connections.
#[derive(Clone)]
pub(super) enum Client {
    Straight(straight::Client),
    Reqwest(reqwest::Client),
}

impl Client {
    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// The outer one if it cannot be sent at all.
    pub(super) async fn execute(&self, request: &Sent) -> Result<Result<Response, Failure>, LlmError> {
        Ok(match self {
            Self::Straight(client) => {
                let sent = client.execute(request.http()?).await;
                sent.map(Response::from).map_err(|error| Failure::Straight(error.into()))
            }
            Self::Reqwest(client) => {
                client.execute(request.reqwest()).await.map(Response::from).map_err(Failure::Reqwest)
            }
        })
    }
}

/// How long a connection is kept that nobody uses.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// After how long a silent connection is probed.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(30);

/// What decides over a connection. Endpoints that agree in it share their connections.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) connect: Option<Duration>,
    /// Proxies and certificates as the environment named them when the endpoint was made.
    pub(super) environment: Environment,
    pub(super) tls: Tls,
    /// `Some(None)`: no proxy, whatever the environment says.
    pub(super) proxy: Option<Option<String>>,
    pub(super) resolve: Vec<(String, IpAddr)>,
    pub(super) http2: bool,
    /// The Unix socket to connect to, whatever the URL says.
    pub(super) socket: Option<PathBuf>,
}

impl fmt::Debug for Way {
    /// Without the proxy, whose URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl Way {
    /// A URL for people.
    pub(super) fn shown(&self, url: &Url) -> String {
        let shown = visible(url);
        match &self.socket {
            Some(socket) => shown.replacen("http://localhost", &socket_origin(socket), 1),
            None => shown,
        }
    }

    /// The proxy on the way to a URL.
    ///
    /// # Errors
    /// `config` if the environment names one that cannot be used.
    pub(super) fn via(&self, url: &Url) -> Result<Option<Via>, LlmError> {
        match &self.proxy {
            _ if self.socket.is_some() => Ok(None),
            None => self.environment.via(url),
            Some(None) => Ok(None),
            // It was checked when it was set.
            Some(Some(proxy)) => Ok(Url::parse(proxy).ok().map(|url| Via { named_by: SETTING, url })),
        }
    }

    /// The kind of client for a URL.
    pub(super) fn kind(&self, url: &Url, via: Option<&Via>) -> Kind {
        match via {
            _ if url.scheme() == "https" => Kind::Tls,
            Some(via) if via.url.scheme() == "https" => Kind::Tls,
            None if self.socket.is_none() && !self.asks_the_system() => Kind::Straight,
            _ => Kind::Plain,
        }
    }

    /// Where no variable decides over proxies, the system's own settings count (macOS, Windows). Elsewhere there are none.
    fn asks_the_system(&self) -> bool {
        cfg!(any(target_os = "macos", windows)) && self.proxy.is_none() && !self.environment.decides()
    }
}

static CLIENTS: LazyLock<Mutex<HashMap<ClientKey, Client>>> = LazyLock::new(Mutex::default);

/// The client for a way. Must be called within a tokio runtime.
pub(super) fn client(way: &Arc<Way>, runtime: tokio::runtime::Id, kind: Kind) -> Result<Client, LlmError> {
    let key = ClientKey { runtime, process: std::process::id(), way: Arc::clone(way), kind };
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.get(&key) {
        return Ok(client.clone());
    }
    let client = match kind {
        Kind::Straight => Client::Straight(straight::Client::new(way)),
        Kind::Plain | Kind::Tls => Client::Reqwest(build(way, kind == Kind::Tls)?),
    };
    // Tests and servers that reload their environment make many; the old ones are closed.
    if clients.len() >= 32 {
        clients.clear();
    }
    clients.insert(key, client.clone());
    Ok(client)
}

/// A client of reqwest's for a way, with certificates if there is TLS on it.
pub(super) fn build(way: &Arc<Way>, needs_tls: bool) -> Result<reqwest::Client, LlmError> {
    let mut tls = way.tls.config(needs_tls.then_some(&way.environment))?;
    tls.alpn_protocols =
        if way.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect must not carry the key or the prompt elsewhere: the endpoint decides (see `super`).
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // As many idle connections as there were streams at once: each stream needs one of its own.
        .pool_max_idle_per_host(usize::MAX)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(KEEPALIVE)
        .tcp_nodelay(true)
        .dns_resolver(Resolver(Arc::clone(way)));
    if let Some(limit) = way.connect {
        builder = builder.connect_timeout(limit);
    }
    if !needs_tls {
        // Only HTTP/2, which TLS agrees on, has requests that a server gives back unread, and each is copied for that.
        builder = builder.retry(reqwest::retry::never().max_retries_per_request(0));
    }
    match &way.proxy {
        None if way.asks_the_system() => {}
        None if !way.environment.decides() => builder = builder.no_proxy(),
        None => {
            let environment = way.environment.clone();
            // One that cannot be read has been refused before: see `Environment::via`.
            let via = move |url: &Url| Some(environment.via(url).ok()??.url);
            builder = builder.no_proxy().proxy(reqwest::Proxy::custom(via));
        }
        Some(None) => builder = builder.no_proxy(),
        Some(Some(url)) => {
            let proxy = reqwest::Proxy::all(url).map_err(|_| LlmError::config("proxy: it cannot be used"))?;
            builder = builder.proxy(proxy);
        }
    }
    if let Some(socket) = &way.socket {
        #[cfg(unix)]
        {
            builder = builder.unix_socket(socket.as_path());
        }
        #[cfg(not(unix))]
        return Err(LlmError::config(format!(
            "{}: there are no Unix sockets on this system",
            socket.display()
        )));
    }
    builder
        .build()
        .map_err(|error| LlmError::config(format!("the HTTP client cannot be made: {}", chain(&error))))
}
