//! The HTTP clients, each with its connection pool.
//!
//! Clients are shared by all endpoints that are reached the same way, so that an agent made per request still finds warm
//! connections. They are bound to the runtime they were made on, and made anew when the environment that names
//! proxies or certificates has changed.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use loom_wire::LlmError;
use reqwest::{Client, Url};

use super::base_url::{socket_origin, visible};
use super::environment::{Environment, SETTING, Via};
use super::failure::chain;
use super::resolver::Resolver;
use super::tls::Tls;

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    runtime: tokio::runtime::Id,
    process: u32,
    way: Arc<Way>,
    tls: bool,
}

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
}

static CLIENTS: LazyLock<Mutex<HashMap<ClientKey, Client>>> = LazyLock::new(Mutex::default);

/// The client for a way, with certificates if there is TLS on it. Must be called within a tokio runtime.
pub(super) fn client(way: &Arc<Way>, runtime: tokio::runtime::Id, tls: bool) -> Result<Client, LlmError> {
    let key = ClientKey { runtime, process: std::process::id(), way: Arc::clone(way), tls };
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.get(&key) {
        return Ok(client.clone());
    }
    let client = build(way, tls)?;
    // Tests and servers that reload their environment make many; the old ones are closed.
    if clients.len() >= 32 {
        clients.clear();
    }
    clients.insert(key, client.clone());
    Ok(client)
}

fn build(way: &Way, needs_tls: bool) -> Result<Client, LlmError> {
    let mut tls = way.tls.config(needs_tls.then_some(&way.environment))?;
    tls.alpn_protocols =
        if way.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect must not carry the key or the prompt elsewhere: the endpoint decides (see `super`).
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // As many idle connections as there were streams at once: each stream needs one of its own.
        .pool_max_idle_per_host(usize::MAX)
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_nodelay(true)
        .dns_resolver(Resolver);
    if let Some(limit) = way.connect {
        builder = builder.connect_timeout(limit);
    }
    if !needs_tls {
        // Only HTTP/2, which TLS agrees on, has requests that a server gives back unread, and each is copied for that.
        builder = builder.retry(reqwest::retry::never().max_retries_per_request(0));
    }
    match &way.proxy {
        // Where no variable decides, the system's own settings count (macOS, Windows). Elsewhere there are none.
        None if !way.environment.decides() => {
            if cfg!(not(any(target_os = "macos", windows))) {
                builder = builder.no_proxy();
            }
        }
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
    for (host, _) in &way.resolve {
        let addresses: Vec<SocketAddr> = way
            .resolve
            .iter()
            .filter(|(name, _)| name == host)
            // The port is the URL's.
            .map(|(_, address)| SocketAddr::new(*address, 0))
            .collect();
        builder = builder.resolve_to_addrs(host, &addresses);
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
