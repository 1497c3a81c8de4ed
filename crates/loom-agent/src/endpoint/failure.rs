//! A transport failure as an error: which link failed (name, TCP, proxy, TLS), and what to do about it.
//!
//! Decided by the types in the chain of causes. Words are used only where a library keeps its type to itself.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper_util::client::legacy;
use loom_wire::{ErrorKind, Link, LlmError};
use url::Url;

use super::certificate;
use super::environment::{SETTING, Via};
use super::resolver;
use super::straight::TooLate;

/// Why a request got no answer, or its answer ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Of the client for servers that are reached straight.
    Straight(Box<dyn Error + Send + Sync>),
    /// Of all others.
    Reqwest(reqwest::Error),
}

impl Failure {
    /// The error of a request that got no answer; `connect` is the limit of that clock.
    pub(super) fn explain(&self, url: &Url, via: Option<&Via>, connect: Option<Duration>) -> LlmError {
        let target = place(url);
        if let Some(tls) = self.find::<rustls::Error>() {
            let explained =
                certificate::explain(self.causes(), &target).unwrap_or_else(|| tls_error(tls, &target));
            return through(explained.with_link(Link::Tls), via);
        }
        match via {
            // Only what stands behind the proxy is beyond its reach: a tunnel that stands and then breaks.
            Some(via) if self.is_connect() => proxy_error(self, via, &target, connect),
            Some(_) | None if self.is_connect() => direct_error(self, url, &target, connect),
            _ => through(broken(self, &target), via),
        }
    }

    /// Whether the connection was closed before the head of an answer had come.
    pub(super) fn is_closed(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        let is_request = match self {
            Self::Straight(_) => true,
            Self::Reqwest(error) => error.is_request(),
        };
        is_request
            && !self.is_connect()
            && (self.find::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
                || self.find::<io::Error>().is_some_and(|cause| {
                    matches!(
                        cause.kind(),
                        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
                    )
                }))
    }

    /// Whether there was no connection.
    pub(super) fn is_connect(&self) -> bool {
        match self {
            Self::Straight(error) => {
                error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
            }
            Self::Reqwest(error) => error.is_connect(),
        }
    }

    fn is_dns(&self) -> bool {
        match self {
            Self::Straight(_) => self.find::<resolver::Unknown>().is_some(),
            Self::Reqwest(error) => error.is_dns(),
        }
    }

    /// Whether the connect clock ran out, and not the system's own.
    fn is_clock(&self) -> bool {
        match self {
            Self::Straight(_) => self.find::<TooLate>().is_some(),
            Self::Reqwest(error) => {
                error.is_timeout()
                    && self.find::<io::Error>().is_none_or(|cause| cause.raw_os_error().is_none())
            }
        }
    }

    /// The first cause of this type.
    fn find<T: Error + 'static>(&self) -> Option<&T> {
        self.causes().find_map(|cause| cause.downcast_ref::<T>())
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        match self {
            Self::Straight(error) => causes(Some(&**error)),
            Self::Reqwest(error) => causes(error.source()),
        }
    }

    /// The causes, each once.
    pub(super) fn chain(&self) -> String {
        joined(self.causes())
    }
}

fn direct_error(error: &Failure, url: &Url, target: &str, connect: Option<Duration>) -> LlmError {
    if error.is_clock() {
        let host = url.host_str().unwrap_or_default();
        if resolver::is_looking_up(host) {
            let message = format!("no address of {host:?} was found {}", within(connect));
            return LlmError::new(ErrorKind::Timeout, message)
                .with_link(Link::Name)
                .with_hint("the name server does not answer: is this machine in the right network (VPN)?");
        }
        let message = format!("no connection to {target} {}", within(connect));
        let unusual_tls = url.scheme() == "https" && url.port().is_some();
        return LlmError::new(ErrorKind::Timeout, message).with_link(Link::Tcp).with_hint(if unusual_tls {
            "does the server speak TLS on this port, or is it http:// instead of https://? A firewall may also drop the packets"
        } else {
            "is the host right and reachable from here? A firewall may drop the packets, or a proxy be needed (HTTPS_PROXY)"
        });
    }
    if error.is_dns() {
        let host = url.host_str().unwrap_or_default();
        return failed(format!("the name {host:?} cannot be resolved"), Link::Name).with_hint(
            "is it spelled right? Names of an intranet resolve only within it; a proxy may be needed (HTTPS_PROXY)",
        );
    }
    match error.find::<io::Error>().map(io::Error::kind) {
        // What usually listens there is the provider data's to say.
        Some(io::ErrorKind::ConnectionRefused) => failed(format!("nothing listens on {target}"), Link::Tcp),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            failed(format!("{target} cannot be reached: {}", error.chain()), Link::Tcp)
                .with_hint("is this machine in the right network (VPN)? A proxy may be needed (HTTPS_PROXY)")
        }
        _ => failed(format!("no connection to {target}: {}", error.chain()), Link::Tcp),
    }
}

fn proxy_error(error: &Failure, via: &Via, target: &str, connect: Option<Duration>) -> LlmError {
    let causes = error.chain();
    let proxy = via.to_string();
    // hyper-util keeps the type of a tunnel's failure to itself.
    if causes.contains("proxy authorization required") {
        return proxy_wants_credentials(&proxy, via);
    }
    // Behind these, names are looked up here.
    let looks_up_here = matches!(via.url.scheme(), "socks4" | "socks5");
    let is_address = |host: &str| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    if error.is_dns() && looks_up_here && via.url.host_str().is_some_and(is_address) {
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        return failed(format!("the name {host:?} cannot be resolved"), Link::Name)
            .with_hint(format!("with socks5h:// instead of {}:// the proxy looks it up", via.url.scheme()));
    }
    let refused =
        error.find::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
    let why = match () {
        () if error.is_clock() => format!("no connection to it {}", within(connect)),
        () if error.is_dns() && looks_up_here => {
            "its name or that of the endpoint cannot be resolved".to_owned()
        }
        () if error.is_dns() => "its name cannot be resolved".to_owned(),
        () if refused => "nothing listens there".to_owned(),
        () if causes.contains("unsuccessful") => "it refused to open a tunnel".to_owned(),
        () => causes,
    };
    let kind = if error.is_clock() { ErrorKind::Timeout } else { ErrorKind::Connection };
    LlmError::new(kind, format!("the proxy {proxy} on the way to {target} failed: {why}"))
        .with_link(Link::Proxy)
        .with_hint(proxy_hint(via, target))
}

/// What to do about a proxy; for a server on this machine it is hardly ever meant.
fn proxy_hint(via: &Via, target: &str) -> String {
    if via.named_by == SETTING {
        return "check `proxy`; \"direct\" reaches the endpoint without one".to_owned();
    }
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    let usual = if super::base_url::is_local_host(host) {
        "a server on this machine needs no proxy: set NO_PROXY=localhost,127.0.0.1".to_owned()
    } else {
        format!("if {host} is reached without a proxy, add it to NO_PROXY")
    };
    format!("check {}; {usual}", via.named_by)
}

/// The proxy answered 407, to a request or to a tunnel.
pub(super) fn proxy_wants_credentials(proxy: &str, via: &Via) -> LlmError {
    let given = !via.url.username().is_empty();
    let message = if given { "refuses the credentials that were given" } else { "wants credentials" };
    failed(format!("the proxy {proxy} {message} (407)"), Link::Proxy).with_retryable(false).with_hint(
        format!(
            "put them into {}: http://user:password@host:port, special characters percent-encoded",
            via.named_by
        ),
    )
}

/// An answer that came through a proxy, and may be the proxy's own.
pub(super) fn of_the_proxy(error: &mut LlmError, via: &Via) {
    match error.status_code {
        Some(407) => {
            let (url, body) = (error.url.take(), error.body.take());
            *error = proxy_wants_credentials(&via.to_string(), via);
            (error.status_code, error.url, error.body) = (Some(407), url, body);
        }
        // A gateway's words for a server that it does not reach.
        Some(502..=504) if error.hint.is_none() => {
            error.hint =
                Some(format!("the request went through the proxy {via}, which may be the one that answers"));
        }
        _ => {}
    }
}

/// A failure of TLS for another reason than the certificates.
fn tls_error(error: &rustls::Error, target: &str) -> LlmError {
    let failed = failed(format!("TLS with {target} failed: {error}"), Link::Tls);
    match error {
        rustls::Error::InvalidMessage(_) => failed
            .with_retryable(false)
            .with_hint("the server does not speak TLS on this port: is it http:// instead of https://?"),
        _ => failed.with_hint("the certificate must be valid, unexpired and issued for this host"),
    }
}

fn broken(error: &Failure, target: &str) -> LlmError {
    let causes = error.chain();
    // hyper tells a client so only in words.
    if causes.contains("message head is too large") {
        let most = loom_wire::Limits::MAX_HEADER_COUNT;
        return LlmError::bad_response(format!(
            "the headers of the answer of {target} are more than {most}, or larger than can be read"
        ));
    }
    failed(format!("the connection to {target} broke: {causes}"), Link::Tcp)
}

fn failed(message: String, link: Link) -> LlmError {
    LlmError::new(ErrorKind::Connection, message).with_link(link)
}

/// Names the proxy that the failed connection went through.
fn through(mut error: LlmError, via: Option<&Via>) -> LlmError {
    if let Some(via) = via {
        error.message = format!("{}, through the proxy {via}", error.message);
    }
    error
}

fn within(connect: Option<Duration>) -> String {
    connect.map_or_else(
        || "within the limit of the client".to_owned(),
        |limit| format!("within {} s (connect)", limit.as_secs_f64()),
    )
}

fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The causes of an error. What an `io::Error` wraps is one of them, which its `source` passes over.
fn causes<'a>(
    first: Option<&'a (dyn Error + 'static)>,
) -> std::iter::Successors<
    &'a (dyn Error + 'static),
    impl FnMut(&&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)>,
> {
    std::iter::successors(first, |cause| {
        let cause: &(dyn Error + 'static) = *cause;
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source())
    })
}

/// The causes of an error of reqwest's. Its own first line repeats the URL, which may hold secrets in its query.
pub(super) fn chain(error: &reqwest::Error) -> String {
    joined(causes(error.source()))
}

fn joined<'a>(causes: impl Iterator<Item = &'a (dyn Error + 'static)>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let mut text = cause.to_string();
        // rustls refers to its manual, which is for programmers.
        if let Some(at) = text.find(": https://docs.rs/") {
            text.truncate(at);
        }
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}
