//! The HTTP clients: rustls with the system's roots, the environment's proxies, one connection pool for the process.
//!
//! Clients are shared by all endpoints with the same connect limit, so that an agent made per request still finds warm
//! connections. They are bound to the runtime they were made on, and made anew when the environment that names
//! proxies or certificates has changed.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use loom_wire::{ErrorKind, LlmError};
use reqwest::Client;

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

/// The client for a connect limit. Must be called within a tokio runtime.
pub(crate) fn client(connect: Option<Duration>, environment: &Environment) -> Result<Client, LlmError> {
    let key = ClientKey {
        runtime: tokio::runtime::Handle::try_current()
            .map_err(|_| {
                LlmError::config("Loom needs a tokio runtime: call it within #[tokio::main] or block_on")
            })?
            .id(),
        process: std::process::id(),
        connect,
        environment: environment.clone(),
    };
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
        .user_agent(concat!("loom/", env!("CARGO_PKG_VERSION")))
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

/// A transport failure as an error that says which link failed.
pub(crate) fn explain(error: &reqwest::Error, url: &reqwest::Url) -> LlmError {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
    let causes = chain(error);
    let lower = causes.to_lowercase();
    let place = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let failed = |message: String| LlmError::new(ErrorKind::Connection, message);
    if error.is_connect() && error.is_timeout() {
        let message = format!("no connection to {place} within the connect timeout");
        let unusual_tls = url.scheme() == "https" && port != Some(443);
        return LlmError::new(ErrorKind::Timeout, message).with_hint(if unusual_tls {
            "does the server speak TLS on this port, or is it http:// instead of https://? A firewall may also drop the packets"
        } else {
            "is the host right and reachable from here? A firewall may drop the packets, or a proxy be needed (HTTPS_PROXY)"
        });
    }
    if has(&["proxy", "tunnel"]) {
        return failed(format!("the proxy refused or failed: {causes}"))
            .with_hint("check HTTPS_PROXY/HTTP_PROXY/ALL_PROXY; hosts in NO_PROXY are reached directly");
    }
    if has(&["dns error", "failed to lookup", "name or service not known"]) {
        return failed(format!("the name {host:?} cannot be resolved")).with_hint(
            "is it spelled right? Names of an intranet resolve only within it; a proxy may be needed",
        );
    }
    if has(&["unknownissuer", "unknown issuer"]) {
        return failed(format!("the certificate of {place} is from an issuer that is not trusted here"))
            .with_hint("if a company CA signs it, set SSL_CERT_FILE to a PEM file with that CA");
    }
    if has(&["certificate", "tls", "handshake", "invalidcontenttype", "corrupt message"]) {
        return failed(format!("TLS with {place} failed: {causes}")).with_hint(
            if has(&["corrupt message", "invalidcontenttype"]) {
                "the server does not speak TLS on this port: is it http:// instead of https://?"
            } else {
                "the certificate must be valid, unexpired and issued for this host"
            },
        );
    }
    if has(&["connection refused"]) {
        return failed(format!("nothing listens on {place}")).with_hint(nothing_listens(port));
    }
    if error.is_connect() {
        return failed(format!("no connection to {place}: {causes}"));
    }
    failed(format!("the connection to {place} broke: {causes}"))
}

fn nothing_listens(port: Option<u16>) -> &'static str {
    match port {
        Some(11434) => "is Ollama running? Start it with `ollama serve`",
        Some(1234) => "is LM Studio's server running? Start it in the Developer tab",
        Some(5000) => "is text-generation-webui running with its API (`--api`)?",
        Some(8000) => "is the server running? For vLLM: `vllm serve MODEL --port 8000`",
        Some(8080) => "is the server running? For llama.cpp: `llama-server -m MODEL.gguf --port 8080`",
        _ => "is the server running, and is the port right?",
    }
}

/// An error with its causes, each once.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    // reqwest's own first line repeats the URL, which may hold secrets in its query.
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}
