//! The base URL as users write it, brought to one form, once and visibly.
//!
//! Handled: surrounding blanks, a trailing slash, a full `…/chat/completions` path, a query (kept on every request).
//! Refused with the fix: no scheme, a scheme that is not HTTP, credentials, a fragment, `..`.

use loom_wire::LlmError;
use url::Url;

/// Where an endpoint's paths start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
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
            return refuse(format!("the scheme is missing: write {:?}", with_scheme(&shown)));
        };
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
        if rest.split(['/', '?']).any(|segment| segment == "..") {
            return refuse("its path holds \"..\": write the path that is meant".to_owned());
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/chat/completions").unwrap_or(path).trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self::new(url))
    }

    fn new(url: Url) -> Self {
        let chat = below(&url, CHAT);
        let origin = url.origin().ascii_serialization();
        Self { url, chat, origin }
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
        Some(Self::new(self.join("v1")))
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&visible(&self.url))
    }
}

/// A URL of a setting other than the base URL, such as an OAuth2 server's.
pub(super) fn checked_url(setting: &str, text: &str) -> Result<Url, LlmError> {
    let refuse = |why: &str| LlmError::config(format!("{setting} {:?}: {why}", presentable(text.trim())));
    let url = Url::parse(text.trim()).map_err(|error| refuse(&format!("it cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("the scheme is not http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(refuse("it holds a user name, a password or a fragment"));
    }
    Ok(url)
}

/// A URL for people: without a trailing slash, and without the values of its query, which may be keys.
pub(crate) fn visible(url: &Url) -> String {
    if url.query().is_none() {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let mut shown = url.clone();
    let names: Vec<String> = url
        .query_pairs()
        .map(|(name, value)| {
            // Azure's version is no secret and helps to understand.
            if name == "api-version" { format!("{name}={value}") } else { format!("{name}=…") }
        })
        .collect();
    shown.set_query(None);
    let text = shown.as_str().trim_end_matches('/').to_owned();
    if names.is_empty() { text } else { format!("{text}?{}", names.join("&")) }
}

fn is_local_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What the user most likely meant: plain HTTP on this machine and on bare addresses, else HTTPS.
fn with_scheme(rest: &str) -> String {
    let rest = rest.trim_start_matches('/');
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let plain = is_local_host(host) || host.parse::<std::net::IpAddr>().is_ok();
    format!("{}://{rest}", if plain { "http" } else { "https" })
}

/// The text as an error may show it: without what may be a secret, be the URL as malformed as it likes. Those are a
/// user name and password (all up to an `@`), a query, a fragment, and what looks like a key given in the wrong place.
fn presentable(text: &str) -> String {
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
            ("ftp://h/v1", "not http or https"),
            ("", "empty"),
            ("http://user:secret@h/v1", "user name or a password"),
            ("http://h/v1#x", "fragment"),
            ("http://h/a/../v1", "\"..\""),
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
    fn v1_is_added_only_where_no_version_is_named() {
        let with = |text| BaseUrl::parse(text).unwrap().with_v1().map(|url| url.to_string());
        assert_eq!(with("http://h:1234"), Some("http://h:1234/v1".into()));
        assert_eq!(with("http://h/api"), Some("http://h/api/v1".into()));
        for text in ["http://h/v1", "http://h/api/paas/v4", "http://h/v1beta/openai"] {
            assert_eq!(with(text), None);
        }
    }
}
