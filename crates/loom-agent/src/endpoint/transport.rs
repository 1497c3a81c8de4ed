//! The HTTP clients: rustls with the system's roots, the environment's proxies, one connection pool for the process.
//!
//! Clients are shared by all endpoints with the same connect limit, so that an agent made per request still finds warm
//! connections. They are bound to the runtime they were made on, and made anew when the environment that names
//! proxies or certificates has changed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use loom_wire::LlmError;
use reqwest::Client;

use super::failure::chain;

/// The variables that reqwest and rustls-native-certs read.
const ENVIRONMENT: [&str; 11] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUEST_METHOD",
];

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    runtime: tokio::runtime::Id,
    process: u32,
    connect: Option<Duration>,
    environment: Environment,
}

/// The values of the variables that name proxies and certificates.
pub(crate) type Environment = Vec<Option<std::ffi::OsString>>;

/// Reads them. Done where the endpoint is made and not per request: a program's other threads may change its
/// environment, which must not be read at the same time.
pub(crate) fn environment() -> Environment {
    ENVIRONMENT.iter().map(std::env::var_os).collect()
}

static CLIENTS: LazyLock<Mutex<HashMap<ClientKey, Client>>> = LazyLock::new(Mutex::default);

/// The client for a connect limit on a runtime.
pub(crate) fn client(
    runtime: tokio::runtime::Id,
    connect: Option<Duration>,
    environment: &Environment,
) -> Result<Client, LlmError> {
    let key = ClientKey { runtime, process: std::process::id(), connect, environment: environment.clone() };
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.get(&key) {
        return Ok(client.clone());
    }
    let client = build(connect)?;
    // Tests and servers that reload their environment make many; the old ones are closed.
    if clients.len() >= 32 {
        clients.clear();
    }
    clients.insert(key, client.clone());
    Ok(client)
}

fn build(connect: Option<Duration>) -> Result<Client, LlmError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls_config()?)
        // A redirect must not carry the key or the prompt elsewhere: the endpoint decides (see `super`).
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_nodelay(true);
    if let Some(limit) = connect {
        builder = builder.connect_timeout(limit);
    }
    builder
        .build()
        .map_err(|error| LlmError::config(format!("the HTTP client cannot be made: {}", chain(&error))))
}

fn tls_config() -> Result<rustls::ClientConfig, LlmError> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    for error in &found.errors {
        // A bundle that the user named and that cannot be read must not fail as "unknown issuer" later.
        if let Some(name) =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().find(|name| std::env::var_os(name).is_some())
        {
            return Err(LlmError::config(format!(
                "the certificates that {name} names cannot be read: {error}"
            )));
        }
        tracing::warn!(target: "loom", %error, "some of the system's certificates cannot be read");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LlmError::config(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
