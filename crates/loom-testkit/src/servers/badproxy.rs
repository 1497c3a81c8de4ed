//! `badproxy`: a proxy that breaks answers in the way that a request names.
//!
//! The way is the model's name, or a part of the path (`/cut/v1`), or `?fault=cut`. With `*2` after it, as in
//! `bad-gateway*2`, only the first two such requests are broken. Without a way that it knows, it is OpenAI's emulator
//! for any model.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::OPENAI;
use crate::emulator::{Emulator, ServerSpec};
use crate::handler::Handler;
use crate::reply::{Framing, Piece, Reply};
use crate::request::RecordedRequest;
use crate::server::Server;

/// A way to break an answer.
type Fault = fn(Reply) -> Reply;

/// Ways to break an answer: name, what happens, how. The function gets the right answer.
const FAULTS: &[(&str, &str, Fault)] = &[
    ("bad-gateway", "502 with nginx's page", |_| page(502, "502 Bad Gateway")),
    ("gateway-timeout", "504 with nginx's page", |_| page(504, "504 Gateway Time-out")),
    ("too-large", "413 with nginx's page", |_| page(413, "413 Request Entity Too Large")),
    ("challenge", "403 with Cloudflare's page", |_| {
        page(403, "Just a moment...").header("server", "cloudflare").header("cf-mitigated", "challenge")
    }),
    ("web-page", "200 with a page: the address of a web site", |_| page(200, "Welcome")),
    ("unavailable", "503 with an empty body", |_| Reply::new(503)),
    ("login", "302 to a page to log in", |_| Reply::new(302).header("location", "/login")),
    ("silent", "takes the request and never answers", |_| Reply::raw("").then(Piece::Hang)),
    ("hang-up", "closes the connection without an answer", |_| Reply::raw("")),
    ("stall", "sends half of the answer, and then nothing more", |reply| half(reply).then(Piece::Hang)),
    ("cut", "sends half of the answer and closes the connection", |reply| half(reply).then(Piece::Close)),
    ("reset", "sends half of the answer and resets the connection", |reply| {
        half(reply).then(Piece::Delay(Duration::from_millis(50))).then(Piece::Reset)
    }),
    ("end", "sends half of the answer and ends it as if it were whole", |reply| half(reply)),
    ("empty", "200 and no body", |_| {
        Reply::new(200).header("content-type", "text/event-stream").framing(Framing::Chunked)
    }),
    ("slow", "a byte every millisecond", |reply| {
        reply.split_every(1).delay_between(Duration::from_millis(1))
    }),
    ("split", "a byte for each write", |reply| reply.split_every(1)),
    ("keep-alive", "a comment every 100 ms, and never a token", |_| {
        let reply = Reply::new(200).header("content-type", "text/event-stream").framing(Framing::Chunked);
        let comments =
            (0..600).fold(reply, |reply, _| reply.then(Piece::Bytes(b": keep-alive\n\n".to_vec())));
        comments.then(Piece::Hang).delay_between(Duration::from_millis(100))
    }),
    ("no-type", "the answer without a content type", Reply::without_headers),
    ("429", "429 and no word when to come back", |_| limited(None)),
    ("429-empty", "429 with an empty body", |_| Reply::new(429)),
    ("429-seconds", "429, Retry-After: 1", |_| limited(Some(("retry-after", "1".to_owned())))),
    ("429-zero", "429, Retry-After: 0", |_| limited(Some(("retry-after", "0".to_owned())))),
    ("429-fraction", "429, Retry-After: 0.5", |_| limited(Some(("retry-after", "0.5".to_owned())))),
    ("429-negative", "429, Retry-After: -1", |_| limited(Some(("retry-after", "-1".to_owned())))),
    ("429-garbage", "429, Retry-After: soon", |_| limited(Some(("retry-after", "soon".to_owned())))),
    ("429-day", "429, Retry-After: 86400", |_| limited(Some(("retry-after", "86400".to_owned())))),
    ("429-date", "429, Retry-After: a date two seconds from now", |_| {
        limited(Some(("retry-after", httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2)))))
    }),
    ("429-past", "429, Retry-After: a date in the past", |_| {
        limited(Some(("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())))
    }),
    ("429-ms", "429, retry-after-ms: 200", |_| limited(Some(("retry-after-ms", "200".to_owned())))),
    ("429-reset", "429, x-ratelimit-reset-tokens: 1.5s", |_| {
        limited(Some(("x-ratelimit-reset-tokens", "1.5s".to_owned())))
    }),
    ("429-text", "429, \"Please retry after 1 seconds.\" in the message", |_| {
        error(429, "Requests have exceeded the call rate limit. Please retry after 1 seconds.", "429")
    }),
    ("429-quota", "429 that no waiting cures", |_| {
        error(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
        )
    }),
];

/// A proxy that breaks answers in the way that a request names; see the [module](self).
#[derive(Debug)]
pub struct BadProxy {
    behind: Emulator,
    /// How many requests named each way.
    seen: Mutex<HashMap<String, usize>>,
}

impl BadProxy {
    /// A proxy before OpenAI's emulator.
    pub fn new() -> Self {
        Self::before(Emulator::of(ServerSpec { rules: &[], ..OPENAI }))
    }

    /// A proxy before this server, for which the model's name must be one that it serves.
    pub fn before(behind: Emulator) -> Self {
        Self { behind, seen: Mutex::default() }
    }

    /// The ways to break an answer, with what happens.
    pub fn faults() -> impl Iterator<Item = (&'static str, &'static str)> {
        FAULTS.iter().map(|(name, what, _)| (*name, *what))
    }

    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub async fn start(self) -> io::Result<Server> {
        Server::start(self).await
    }

    /// The way that the request names, if it is still to be broken, and the request as the server behind should get it.
    fn fault(&self, request: &RecordedRequest) -> (Option<Fault>, RecordedRequest) {
        let body = request.json();
        let mut inner = request.clone();
        let path = request.path.trim_start_matches('/').split_once('/');
        let query = request.query.split('&').find_map(|pair| pair.strip_prefix("fault="));
        let (named, by_path) = match (path, query) {
            (_, Some(named)) => (named, None),
            (Some((named, rest)), None) if find(named).is_some() => (named, Some(rest)),
            _ => (body.get("model").and_then(serde_json::Value::as_str).unwrap_or_default(), None),
        };
        if let Some(rest) = by_path {
            inner.path = format!("/{rest}");
        }
        let Some((fault, times)) = find(named) else {
            return (None, inner);
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(named.to_owned()).or_default();
        *seen += 1;
        ((*seen <= times).then_some(fault), inner)
    }
}

impl Default for BadProxy {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for BadProxy {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        if request.method == "GET" && request.path == "/v1/models" && request.query.is_empty() {
            let data: Vec<_> =
                FAULTS.iter().map(|(name, ..)| json!({"id": name, "object": "model"})).collect();
            return Reply::json(200, &json!({"object": "list", "data": data}));
        }
        let (fault, inner) = self.fault(request);
        let right = self.behind.reply(&inner);
        fault.map_or_else(|| right.clone(), |fault| fault(right.clone()))
    }
}

/// The way of this name, and how often it strikes.
fn find(named: &str) -> Option<(Fault, usize)> {
    let (name, times) = match named.split_once('*') {
        Some((name, times)) => (name, times.parse().ok()?),
        None => (named, usize::MAX),
    };
    FAULTS.iter().find(|(known, ..)| *known == name).map(|(_, _, fault)| (*fault, times))
}

fn page(status: u16, title: &str) -> Reply {
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx\
         </center>\r\n</body>\r\n</html>\r\n"
    );
    Reply::html(status, page)
}

fn limited(header: Option<(&str, String)>) -> Reply {
    let reply = error(429, "Rate limit reached", "rate_limit_exceeded");
    header.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value))
}

fn error(status: u16, message: &str, code: &str) -> Reply {
    Reply::json(
        status,
        &json!({"error": {"message": message, "type": "requests", "param": null, "code": code}}),
    )
}

/// The first half of the bytes of the body.
fn half(reply: Reply) -> Reply {
    let bytes = reply.body_bytes();
    let cut = bytes.len() / 2;
    // As the length said: the client must see that something is missing.
    let framing = match reply.framing_for(false) {
        Framing::Length => Framing::LengthOf(bytes.len() as u64),
        framing => framing,
    };
    reply.with_body(bytes.get(..cut).unwrap_or_default().to_vec()).framing(framing)
}
