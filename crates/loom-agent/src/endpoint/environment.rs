//! What the environment says about the way to an endpoint: proxies, hosts without one, certificates.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` and their lower-case names mean what they mean to curl. A proxy that
//! cannot be read is an error and never a direct connection.

use std::ffi::OsString;
use std::net::IpAddr;

use ipnet::IpNet;
use loom_wire::LlmError;
use reqwest::Url;

/// Schemes of proxies that can be used.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The variables as they were when the endpoint was made. Not read per request: a program's other threads may change its
/// environment, which must not be read at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Environment {
    http: Option<Variable>,
    https: Option<Variable>,
    all: Option<Variable>,
    no_proxy: Option<Variable>,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`, which rustls-native-certs reads.
    pub(super) certificates: Vec<(&'static str, OsString)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Variable {
    name: &'static str,
    value: String,
}

/// The setting of an endpoint that names a proxy, instead of the environment.
pub(crate) const SETTING: &str = "proxy";

/// The proxy on the way to a URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Via {
    /// The variable that names it, or [`SETTING`].
    pub(crate) named_by: &'static str,
    /// Its address, credentials included.
    pub(crate) url: Url,
}

impl Environment {
    /// Reads the variables of this process.
    pub(crate) fn read() -> Self {
        Self::read_from(&|name| std::env::var_os(name))
    }

    fn read_from(get: &dyn Fn(&str) -> Option<OsString>) -> Self {
        // Under CGI, a client's header `Proxy` arrives as HTTP_PROXY (CVE-2016-5385).
        let cgi = get("REQUEST_METHOD").is_some();
        // The lower case wins, as with curl, wget and Python's requests.
        let first = |names: [&'static str; 2]| {
            names.into_iter().filter(|name| !cgi || *name != "HTTP_PROXY").find_map(|name| {
                let value = get(name)?.to_string_lossy().trim().to_owned();
                (!value.is_empty()).then_some(Variable { name, value })
            })
        };
        Self {
            http: first(["http_proxy", "HTTP_PROXY"]),
            https: first(["https_proxy", "HTTPS_PROXY"]),
            all: first(["all_proxy", "ALL_PROXY"]),
            no_proxy: first(["no_proxy", "NO_PROXY"]),
            certificates: ["SSL_CERT_FILE", "SSL_CERT_DIR"]
                .into_iter()
                .filter_map(|name| Some((name, get(name)?)))
                .collect(),
        }
    }

    /// Whether any variable decides over proxies: names one, or exempts every host.
    pub(super) fn decides(&self) -> bool {
        let exempts_all = self.no_proxy.as_ref().is_some_and(|list| list.value == "*");
        self.http.is_some() || self.https.is_some() || self.all.is_some() || exempts_all
    }

    /// The proxy for a URL; `None`: the way is direct.
    ///
    /// # Errors
    /// `config` if the variable that counts cannot be read.
    pub(crate) fn via(&self, url: &Url) -> Result<Option<Via>, LlmError> {
        let own = if url.scheme() == "https" { &self.https } else { &self.http };
        let Some(variable) = own.as_ref().or(self.all.as_ref()) else { return Ok(None) };
        if self.no_proxy.as_ref().is_some_and(|list| is_listed(&list.value, url)) {
            return Ok(None);
        }
        let proxy = read_proxy(&variable.value).map_err(|why| {
            // The value may hold a password.
            LlmError::config(format!("the proxy that {} names cannot be used: {why}", variable.name)).with_hint(
                "write it as http://host:port, https://…, socks5://… or socks5h://…; with credentials http://user:password@host:port, special characters percent-encoded; hosts in NO_PROXY are reached directly",
            )
        })?;
        Ok(Some(Via { named_by: variable.name, url: proxy }))
    }
}

impl std::fmt::Debug for Variable {
    /// Without the value, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl std::fmt::Debug for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Via {
    /// `http://host:port (HTTP_PROXY)`: without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.url.scheme())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        write!(f, " ({})", self.named_by)
    }
}

fn read_proxy(value: &str) -> Result<Url, String> {
    // Without a scheme it is an HTTP proxy, as everywhere.
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    if text.chars().any(char::is_control) {
        return Err("it holds control characters".to_owned());
    }
    let url = Url::parse(&text).map_err(|error| error.to_string())?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(format!("there are no {:?} proxies", url.scheme()));
    }
    match url.host_str() {
        None | Some("") => Err("it has no host".to_owned()),
        Some(_) => Ok(url),
    }
}

/// Whether a list such as `localhost, .corp.example, 10.0.0.0/8, host:8080, *` names a URL's host.
fn is_listed(list: &str, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
    let (host, port) = (host.to_ascii_lowercase(), url.port_or_known_default());
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ', ';', '\t']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        let (name, wanted) = split_port(entry);
        if wanted.is_some() && wanted != port {
            return false;
        }
        if let Some(address) = address {
            let network = name.parse::<IpNet>().is_ok_and(|network| network.contains(&address));
            return network || name.parse::<IpAddr>().is_ok_and(|listed| listed == address);
        }
        let name = name.trim_start_matches('*').trim_matches('.').to_ascii_lowercase();
        let is_within = || host.strip_suffix(&name).is_some_and(|before| before.ends_with('.'));
        !name.is_empty() && (host == name || is_within())
    })
}

/// `host:port`, `[::1]:port`, or a name or address alone.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((inner, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (inner, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        // More than one colon is an address.
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::read_from(&|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    fn via(pairs: &[(&str, &str)], url: &str) -> Option<String> {
        environment(pairs).via(&Url::parse(url).unwrap()).unwrap().map(|via| via.to_string())
    }

    #[test]
    fn the_scheme_chooses_the_variable() {
        let pairs =
            [("HTTP_PROXY", "http://a:1"), ("https_proxy", "b:2"), ("ALL_PROXY", "socks5h://user:pw@c:3")];
        assert_eq!(via(&pairs, "http://x/v1").unwrap(), "http://a:1 (HTTP_PROXY)");
        assert_eq!(via(&pairs, "https://x/v1").unwrap(), "http://b:2 (https_proxy)");
        assert_eq!(via(&pairs[2..], "https://x/v1").unwrap(), "socks5h://c:3 (ALL_PROXY)");
        assert_eq!(via(&[("HTTPS_PROXY", "http://a:1")], "http://x/v1"), None);
        assert_eq!(
            via(&[("HTTP_PROXY", "http://a:1"), ("http_proxy", "http://d:4")], "http://x/").unwrap(),
            "http://d:4 (http_proxy)"
        );
        assert_eq!(
            via(&[("HTTP_PROXY", "http://a:1"), ("http_proxy", " ")], "http://x/").unwrap(),
            "http://a:1 (HTTP_PROXY)"
        );
        assert_eq!(via(&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], "http://x/"), None);
        assert!(via(&[("http_proxy", "http://a:1"), ("REQUEST_METHOD", "GET")], "http://x/").is_some());
    }

    #[test]
    fn no_proxy_takes_every_form() {
        let direct =
            |list: &str, url: &str| via(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", list)], url).is_none();
        for (list, url) in [
            ("*", "http://x/"),
            ("localhost,127.0.0.1", "http://localhost:11434/v1"),
            ("localhost,127.0.0.1", "http://127.0.0.1:8000/v1"),
            (".corp.example", "https://llm.corp.example/v1"),
            ("corp.example", "https://LLM.corp.example/v1"),
            ("*.corp.example", "https://llm.corp.example/v1"),
            ("corp.example", "https://corp.example/v1"),
            ("a, b ,corp.example.", "https://corp.example/v1"),
            ("a b", "http://b/"),
            ("10.0.0.0/8", "http://10.1.2.3/v1"),
            ("fd00::/8", "http://[fd00::1]:8000/v1"),
            ("::1", "http://[::1]/v1"),
            ("[::1]:8000", "http://[::1]:8000/v1"),
            ("gpu:8000", "http://gpu:8000/v1"),
            ("api.example:443", "https://api.example/v1"),
        ] {
            assert!(direct(list, url), "{list} names {url}");
        }
        for (list, url) in [
            ("", "http://x/"),
            ("corp.example", "https://notcorp.example/v1"),
            (".example", "https://example.org/v1"),
            ("10.0.0.0/8", "http://11.1.2.3/v1"),
            ("gpu:8000", "http://gpu:8001/v1"),
            ("[::1]:8000", "http://[::1]:8001/v1"),
            (",,", "http://x/"),
        ] {
            assert!(!direct(list, url), "{list} does not name {url}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_read_is_an_error_where_it_counts() {
        let x = Url::parse("http://x/v1").unwrap();
        for wrong in ["ftp://p:1", "http://", "http://p:99999", "://", "http://user:secret-word@:1"] {
            let error = environment(&[("HTTP_PROXY", wrong)]).via(&x).unwrap_err();
            assert!(error.message.contains("HTTP_PROXY"), "{error}");
            assert!(!format!("{error} {error:?}").contains("secret-word"));
        }
        assert!(environment(&[("HTTPS_PROXY", "ftp://p:1")]).via(&x).unwrap().is_none());
        assert!(environment(&[("HTTP_PROXY", "ftp://p:1"), ("NO_PROXY", "x")]).via(&x).unwrap().is_none());
        let shown = format!("{:?}", environment(&[("HTTP_PROXY", "http://u:secret-word@p")]));
        assert!(!shown.contains("secret-word"));
    }
}
