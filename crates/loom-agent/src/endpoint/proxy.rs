//! The proxy of an endpoint, or its refusal.

use std::fmt;

use loom_wire::LlmError;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use url::Url;

/// What a proxy may speak. `socks5` resolves names here, `socks5h` lets the proxy do it.
const SCHEMES: [&str; 6] = ["http", "https", "socks5", "socks5h", "socks4", "socks4a"];

/// A proxy's URL, which may hold a password, or none at all. Its password cannot be printed.
#[derive(Clone)]
pub struct Proxy {
    /// `None`: no proxy, whatever the environment says.
    url: Option<SecretString>,
    shown: String,
}

impl Proxy {
    /// No proxy, whatever the environment says.
    pub fn direct() -> Self {
        Self { url: None, shown: "direct".to_owned() }
    }

    /// A proxy such as `http://user:password@proxy:3128` or `socks5h://proxy:1080`; `direct` for none. What holds no
    /// scheme is an HTTP proxy.
    ///
    /// # Errors
    /// `config`, without the password.
    pub fn parse(text: &str) -> Result<Self, LlmError> {
        let text = text.trim();
        if text == "direct" {
            return Ok(Self::direct());
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let refuse = |why: &str| {
            Err(LlmError::config(format!("proxy: {why}")).with_hint(
                "write it as http://proxy:3128, https://…, socks5://… or socks5h://…, or \"direct\" for none",
            ))
        };
        // They would be left out silently.
        if whole.chars().any(char::is_control) {
            return refuse("it holds control characters");
        }
        let Ok(url) = Url::parse(&whole) else { return refuse("it is not a URL") };
        if !SCHEMES.contains(&url.scheme()) {
            return refuse(&format!("the scheme {:?} is none that proxies speak", url.scheme()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return refuse("the host is missing");
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return refuse("it holds a path, which proxies do not have");
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", url.scheme());
        Ok(Self { url: Some(whole.into()), shown })
    }

    /// The URL; `None` for no proxy.
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_ref().map(|url| url.expose_secret())
    }

    /// What errors must not show.
    pub(super) fn secrets(&self) -> Vec<String> {
        let Some(url) = self.url().and_then(|url| Url::parse(url).ok()) else { return Vec::new() };
        let decoded = url.password().map(|text| {
            url::form_urlencoded::parse(format!("p={}", text.replace('+', "%2B")).as_bytes())
                .map(|(_, value)| value.into_owned())
                .collect::<String>()
        });
        url.password().map(str::to_owned).into_iter().chain(decoded).collect()
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_refusals() {
        for (text, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("socks5h://user:secret@10.0.0.1", "socks5h://10.0.0.1"),
            ("direct", "direct"),
        ] {
            assert_eq!(format!("{:?}", Proxy::parse(text).unwrap()), shown);
        }
        for text in [
            "ftp://user:secret@h",
            "http://",
            "",
            "http://user:secret@h/path",
            "http://user:se cret@h:x",
            "http://user:secret@h\r\n:1",
        ] {
            let error = Proxy::parse(text).unwrap_err().to_string();
            assert!(error.contains("proxy") && !error.contains("secret"), "{error}");
        }
        assert_eq!(Proxy::parse("http://u:p%40%2Bss@h").unwrap().secrets(), ["p%40%2Bss", "p@+ss"]);
    }
}
