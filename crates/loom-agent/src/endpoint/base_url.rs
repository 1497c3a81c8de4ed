//! The base URL as users write it, brought to one form, once and visibly.
//!
//! Handled: surrounding blanks, a trailing slash, a full `…/chat/completions` path, a query (kept on every request).
//! Refused with the fix: no scheme, a scheme that is not HTTP, credentials, a fragment, `..`.

use std::path::{Path, PathBuf};

use loom_wire::LlmError;
use url::Url;

/// Where an endpoint's paths start.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
    /// The Unix socket to connect to; the URL's host is then `localhost`.
    socket: Option<PathBuf>,
    /// Where calls go; joined once, since each call needs it.
    chat: Url,
    origin: String,
}

/// The path of the calls, below the base.
pub(crate) const CHAT: &str = "chat/completions";

impl BaseUrl {
    /// Reads a base URL.
    ///
    /// # Errors
    /// `config`, with the text and what to write instead.
    pub fn parse(text: &str) -> Result<Self, LlmError> {
        let trimmed = text.trim();
        let shown = presentable(trimmed);
        let refuse = |why: String| Err(LlmError::config(format!("base_url {shown:?}: {why}")));
        if trimmed.is_empty() {
            return Err(
                LlmError::config("base_url is empty").with_hint("give one like http://localhost:8000/v1")
            );
        }
        if trimmed.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it holds blanks or control characters".to_owned());
        }
        let Some((scheme, rest)) = trimmed.split_once("://") else {
            if let Some(meant) = with_slash(&shown) {
                return refuse(format!("a slash is missing: write {meant:?}"));
            }
            return refuse(format!("the scheme is missing: write {:?}", with_scheme(&shown)));
        };
        if scheme.eq_ignore_ascii_case("http+unix") {
            return Self::on_socket(rest).or_else(|why| refuse(why.to_owned()));
        }
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return refuse(format!(
                "the scheme is not http or https: write {:?}",
                with_scheme(shown.rsplit("://").next().unwrap_or_default())
            ));
        }
        if rest.starts_with('/') {
            return refuse("the host is missing".to_owned());
        }
        let mut url = match Url::parse(trimmed) {
            Ok(url) => url,
            Err(error) => return refuse(format!("it cannot be read: {error}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "it holds a user name or a password, which would end up in logs: pass them as \
                 default_headers={\"Authorization\": \"Basic …\"} instead"
                    .to_owned(),
            );
        }
        if url.fragment().is_some() {
            return refuse("it holds a fragment (#…), which is never sent: leave it out".to_owned());
        }
        if climbs(rest) {
            return refuse(
                "its path holds \"..\", or a part of it encoded: write the path that is meant".to_owned(),
            );
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/chat/completions").unwrap_or(path).trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self::new(url, None))
    }

    /// `http+unix://%2Frun%2Fllm.sock/v1`: the socket's path stands percent-encoded where the host would.
    fn on_socket(rest: &str) -> Result<Self, &'static str> {
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (socket, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let socket = decoded(socket);
        if !socket.starts_with('/') {
            return Err("write the socket's whole path percent-encoded: http+unix://%2Frun%2Fllm.sock/v1");
        }
        if socket.chars().any(char::is_control) {
            return Err("the socket's path holds control characters");
        }
        let base = Self::parse(&format!("http://localhost{path}"))
            .map_err(|_| "what stands behind the socket cannot be read")?;
        Ok(Self::new(base.url, Some(socket.into())))
    }

    /// The Unix socket that the endpoint listens on.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    fn new(url: Url, socket: Option<PathBuf>) -> Self {
        let chat = below(&url, CHAT);
        let origin = match &socket {
            Some(socket) => socket_origin(socket),
            None => url.origin().ascii_serialization(),
        };
        Self { url, socket, chat, origin }
    }

    /// The URL of a path below the base, with the base's query.
    pub fn join(&self, path: &str) -> Url {
        if path == CHAT { self.chat.clone() } else { below(&self.url, path) }
    }

    /// The parameters that go with every request.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        self.url.query_pairs().into_owned().collect()
    }

    /// Scheme, host and port: what a key is bound to.
    pub fn origin(&self) -> String {
        self.origin.clone()
    }

    /// As [`origin`](Self::origin), to look at.
    pub(crate) fn origin_text(&self) -> &str {
        &self.origin
    }

    /// Whether two URLs share scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.origin == other.origin
    }

    /// The port, the scheme's own included.
    pub fn port(&self) -> Option<u16> {
        self.url.port_or_known_default()
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether the host is this machine.
    pub fn is_local(&self) -> bool {
        is_local_host(self.host())
    }

    /// The base with `/v1` at its end, unless its path names a version already.
    pub fn with_v1(&self) -> Option<Self> {
        let is_version = |segment: &str| {
            segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        if self.url.path().split('/').any(is_version) {
            return None;
        }
        Some(Self::new(self.join("v1"), self.socket.clone()))
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = visible(&self.url);
        match &self.socket {
            Some(socket) => f.write_str(&shown.replacen("http://localhost", &socket_origin(socket), 1)),
            None => f.write_str(&shown),
        }
    }
}

impl std::fmt::Debug for BaseUrl {
    /// As `Display`: the query's values may be keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

/// The socket as it stands in a base URL.
pub(super) fn socket_origin(socket: &Path) -> String {
    format!("http+unix://{}", socket.to_string_lossy().replace('%', "%25").replace('/', "%2F"))
}

/// Percent-encoded text, decoded.
fn decoded(text: &str) -> String {
    // A form's decoder, told that a plus is a plus.
    let form = format!("={}", text.replace('+', "%2B").replace('&', "%26").replace(';', "%3B"));
    url::form_urlencoded::parse(form.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

/// A URL of a setting other than the base URL, such as an OAuth2 server's.
pub(super) fn checked_url(setting: &str, text: &str) -> Result<Url, LlmError> {
    let refuse = |why: &str| LlmError::config(format!("{setting} {:?}: {why}", presentable(text.trim())));
    if text.trim().chars().any(char::is_control) {
        return Err(refuse("it holds control characters"));
    }
    let url = Url::parse(text.trim()).map_err(|error| refuse(&format!("it cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("the scheme is not http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(refuse("it holds a user name, a password or a fragment"));
    }
    Ok(url)
}

/// A URL for people: without a trailing slash, and without what may be a secret: user, password, the query's values.
pub(crate) fn visible(url: &Url) -> String {
    let names_somebody = !url.username().is_empty() || url.password().is_some();
    if url.query().is_none() && !names_somebody {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let mut shown = url.clone();
    // Only a URL without a host cannot lose them, and it has none.
    let _ = (shown.set_username(""), shown.set_password(None));
    // As they stand there: decoded, a name might hold a line break.
    let names: Vec<String> = url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=').unwrap_or((pair, "")) {
            // Azure's version is no secret and helps to understand.
            ("api-version", _) => pair.to_owned(),
            (name, _) => format!("{name}=…"),
        })
        .collect();
    shown.set_query(None);
    let text = shown.as_str().trim_end_matches('/').to_owned();
    if names.is_empty() { text } else { format!("{text}?{}", names.join("&")) }
}

pub(super) fn is_local_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the path of a URL holds `..`, be it written as `%2e%2e`, with `\`, or with `%2f` around it: servers and
/// proxies differ in what they make of that.
fn climbs(rest: &str) -> bool {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let mut plain = path.to_owned();
    // `%252e` becomes `..` behind a proxy that decodes once.
    for _ in 0..3 {
        let next = decoded(&plain);
        if next == plain {
            break;
        }
        plain = next;
    }
    plain.split(['/', '\\']).any(|segment| segment == "..")
}

/// `http:/host` with its second slash.
fn with_slash(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(":/")?;
    let scheme = scheme.to_ascii_lowercase();
    matches!(scheme.as_str(), "http" | "https").then(|| format!("{scheme}://{rest}"))
}

/// What the user most likely meant: plain HTTP on this machine and on bare addresses, else HTTPS.
fn with_scheme(rest: &str) -> String {
    let rest = rest.trim_start_matches('/');
    let authority = rest.split('/').next().unwrap_or_default();
    let path = rest.get(authority.len()..).unwrap_or_default();
    // An IPv6 address without its brackets is all colons; a port cannot be told from its last part.
    if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("http://[{authority}]{path}");
    }
    let host = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, _)) => inner,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let plain = is_local_host(host) || host.parse::<std::net::IpAddr>().is_ok();
    format!("{}://{rest}", if plain { "http" } else { "https" })
}

/// The text as an error may show it: without what may be a secret, be the URL as malformed as it likes. Those are a
/// user name and password (all up to an `@`), a query, a fragment, and what looks like a key given in the wrong place.
pub(crate) fn presentable(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    if text.starts_with("sk-") || (!text.contains(['.', '/', ':']) && text.len() > 24) {
        return "…".to_owned();
    }
    match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{host}"),
            None => host.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(text: &str) -> String {
        BaseUrl::parse(text).unwrap().join("chat/completions").to_string()
    }

    #[test]
    fn every_spelling_leads_to_one_url() {
        for text in [
            "http://h:8000/v1",
            " http://h:8000/v1/ ",
            "http://h:8000/v1//",
            "http://h:8000/v1/chat/completions",
            "http://h:8000/v1/chat/completions/",
        ] {
            assert_eq!(chat(text), "http://h:8000/v1/chat/completions", "{text}");
        }
        assert_eq!(
            chat("https://open.bigmodel.cn/api/paas/v4"),
            "https://open.bigmodel.cn/api/paas/v4/chat/completions"
        );
        assert_eq!(
            chat("https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21"),
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
        );
        assert_eq!(chat("http://localhost:11434"), "http://localhost:11434/chat/completions");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_fix() {
        for (text, fix) in [
            ("localhost:8000/v1", "write \"http://localhost:8000/v1\""),
            ("api.example.com/v1", "write \"https://api.example.com/v1\""),
            ("http:/localhost:8000/v1", "write \"http://localhost:8000/v1\""),
            ("HTTPS:/api.example.com/v1", "write \"https://api.example.com/v1\""),
            ("ftp://h/v1", "not http or https"),
            ("", "empty"),
            ("http://user:secret@h/v1", "user name or a password"),
            ("http://h/v1#x", "fragment"),
            ("http://h/a/../v1", "\"..\""),
            ("http://h/a/%2e%2e/v1", "\"..\""),
            ("http://h/a/.%2E/v1", "\"..\""),
            ("http://h/a%2f..%2fv1", "\"..\""),
            ("http://h/a/%252e%252e/v1", "\"..\""),
            ("http://h/a\\..\\v1", "\"..\""),
            ("::1", "write \"http://[::1]\""),
            ("[::1]:8000/v1", "write \"http://[::1]:8000/v1\""),
            ("fe80::1/v1", "write \"http://[fe80::1]/v1\""),
            ("[2001:db8::1]:8000/v1", "write \"http://[2001:db8::1]:8000/v1\""),
            ("http+unix://run/llm.sock", "percent-encoded"),
            ("http+unix://%2Frun%2Fllm%0a.sock", "control characters"),
            ("http://h/v1\r\nX: y", "control characters"),
            ("http://", "cannot be read"),
            ("https:///v1", "host is missing"),
        ] {
            let error = BaseUrl::parse(text).unwrap_err();
            assert!(error.to_string().contains(fix), "{text}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
        for text in [
            "user:secret@h/v1",
            "ftp://user:secret@h",
            "http:/user:secret@h",
            "h/v1?key=secret",
            "http://h#secret",
            "sk-secret",
        ] {
            let error = BaseUrl::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_socket_stands_where_the_host_would() {
        let base = BaseUrl::parse("http+unix://%2Frun%2Fa+b.sock/v1/").unwrap();
        assert_eq!(base.socket().unwrap(), Path::new("/run/a+b.sock"));
        assert_eq!(base.to_string(), "http+unix://%2Frun%2Fa+b.sock/v1");
        assert_eq!(base.origin(), "http+unix://%2Frun%2Fa+b.sock");
        assert!(base.is_local());
        assert!(!base.same_origin(&BaseUrl::parse("http://localhost/v1").unwrap()));
        assert_eq!(base.join("models").as_str(), "http://localhost/v1/models");
        assert!(BaseUrl::parse("http+unix://%2Frun%2Fx.sock/../v1").is_err());
    }

    #[test]
    fn v1_is_added_only_where_no_version_is_named() {
        let with = |text| BaseUrl::parse(text).unwrap().with_v1().map(|url| url.to_string());
        assert_eq!(with("http://h:1234"), Some("http://h:1234/v1".into()));
        assert_eq!(with("http://h/api"), Some("http://h/api/v1".into()));
        for text in ["http://h/v1", "http://h/api/paas/v4", "http://h/v1beta/openai"] {
            assert_eq!(with(text), None);
        }
    }
}
