//! An HTTP forward proxy: tunnels for https, forwarding for http, and a list of what it was asked for.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http::incoming::{Incoming, Unreadable};
use crate::listen::listen;
use crate::record::{OpenConnection, Record};
use crate::reply::Reply;
use crate::request::RecordedRequest;

/// How a [`Proxy`] treats what it is asked for.
///
/// ```
/// use loom_testkit::ProxyRules;
///
/// // https://your-service.com leads to a server on port 8443 of this machine.
/// let rules = ProxyRules::new().map("your-service.com:443", 8443).credentials("user", "secret");
/// ```
#[derive(Clone, Default)]
pub struct ProxyRules {
    ports: HashMap<String, u16>,
    authorization: Option<String>,
}

impl ProxyRules {
    /// Forwards everything to where it is addressed, and asks for no credentials.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leads requests for `authority`, as `your-service.com:443`, to this port of 127.0.0.1. The name is not
    /// looked up.
    pub fn map(mut self, authority: impl Into<String>, port: u16) -> Self {
        self.ports.insert(authority.into(), port);
        self
    }

    /// Answers 407 to requests without these credentials in a `Proxy-Authorization: Basic …` header.
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())));
        self
    }

    fn permit(&self, request: &RecordedRequest) -> bool {
        self.authorization.is_none() || request.header("proxy-authorization") == self.authorization.as_deref()
    }

    async fn connect(&self, authority: &str) -> io::Result<TcpStream> {
        let stream = match self.ports.get(authority) {
            Some(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await?,
            None => TcpStream::connect(authority).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl std::fmt::Debug for ProxyRules {
    /// Leaves the credentials out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyRules").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// A forward proxy on a free port of 127.0.0.1, which lives until it is dropped.
///
/// It opens tunnels for `CONNECT` and forwards requests for `http://` addresses, one per connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    record: Arc<Record>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on the tokio runtime of the caller.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub async fn start(rules: ProxyRules) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let record = Arc::new(Record::default());
        let rules = Arc::new(rules);
        let serve = move |stream, connection| {
            let rules = Arc::clone(&rules);
            async move {
                // That a connection failed is for its two ends to report.
                let _ = serve(stream, &rules, &connection).await;
            }
        };
        let accepting = tokio::spawn(listen(listener, Arc::clone(&record), serve));
        Ok(Self { address, record, accepting })
    }

    /// What to give to a client as its proxy: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that the proxy listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What the proxy was asked for, in order: `your-service.com:443` for a tunnel, `http://host/path`
    /// otherwise. Requests that it refused are among them.
    pub fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }

    /// The requests to the proxy, headers included; of a tunnel, only the `CONNECT`.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.record.requests()
    }

    /// Waits until there has been a connection and none is open, for at most `timeout`; whether that came to
    /// pass.
    pub async fn wait_closed(&self, timeout: Duration) -> bool {
        self.record.wait_closed(timeout).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request, by a refusal or by joining the client to where it wants to go.
async fn serve(stream: TcpStream, rules: &ProxyRules, connection: &OpenConnection) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut incoming = Incoming::new(reader);
    let request = match incoming.request(&mut writer, connection.index).await {
        Ok(request) => request,
        Err(Unreadable::Gone) => return Ok(()),
        Err(Unreadable::Refused(reply)) => return refuse(&mut writer, &reply).await,
    };
    connection.add_request(request.clone());

    if !rules.permit(&request) {
        let reply = Reply::text(407, "proxy credentials required");
        return refuse(&mut writer, &reply.header("proxy-authenticate", "Basic realm=\"loom-testkit\""))
            .await;
    }
    let (authority, opening) = if request.method == "CONNECT" {
        (request.target.clone(), None)
    } else if let Some((authority, path)) = split_url(&request.target) {
        (authority, Some(forwarded(&request, &path)))
    } else {
        return refuse(&mut writer, &Reply::text(400, "not a request to a proxy")).await;
    };
    let mut upstream = match rules.connect(&authority).await {
        Ok(upstream) => upstream,
        Err(error) => {
            return refuse(&mut writer, &Reply::text(502, format!("no connection to {authority}: {error}")))
                .await;
        }
    };
    match opening {
        Some(request) => upstream.write_all(&request).await?,
        None => writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
    }
    // A client may send the first bytes for the other end along with the request to the proxy.
    let (reader, early) = incoming.into_parts();
    upstream.write_all(&early).await?;
    copy_bidirectional(&mut reader.unsplit(writer), &mut upstream).await?;
    Ok(())
}

async fn refuse(writer: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> io::Result<()> {
    writer.write_all(&reply.clone().header("connection", "close").to_bytes()).await?;
    writer.shutdown().await
}

/// Authority, with a port, and path of an `http://` address.
fn split_url(target: &str) -> Option<(String, String)> {
    let rest = target.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some((authority, path))
}

/// The request as the server gets it: addressed by path, without what was meant for the proxy, and the last
/// on its connection, so that the end of the answer is the end of the connection.
fn forwarded(request: &RecordedRequest, path: &str) -> Vec<u8> {
    const FOR_THE_PROXY: &[&str] = &[
        "proxy-authorization",
        "proxy-connection",
        "connection",
        "transfer-encoding",
        "content-length",
        "expect",
    ];
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        if !FOR_THE_PROXY.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let symbol = ALPHABET.get(index as usize).filter(|_| place <= group.len());
            text.push(symbol.map_or('=', |symbol| char::from(*symbol)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_of_the_examples_in_rfc_4648() {
        let examples = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in examples {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
