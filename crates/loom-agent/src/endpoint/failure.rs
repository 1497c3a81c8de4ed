//! A transport failure as an error: which link failed (name, TCP, proxy, TLS), and what to do about it.

use std::error::Error as _;

use loom_wire::{ErrorKind, LlmError};

/// A transport failure as an error that says which link failed.
pub(super) fn explain(error: &reqwest::Error, url: &reqwest::Url) -> LlmError {
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
pub(super) fn chain(error: &reqwest::Error) -> String {
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
