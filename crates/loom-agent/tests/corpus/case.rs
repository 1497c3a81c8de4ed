//! The files of the corpus as Rust reads them. `tests/corpus/README.md` is the schema's description.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use loom_testkit::{Framing, Piece, Reply};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The folder of the corpus.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    #[serde(rename = "family")]
    _family: String,
    #[serde(rename = "title")]
    _title: String,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(rename = "servers")]
    _servers: Vec<String>,
    #[serde(rename = "source")]
    _source: String,
    #[serde(default, rename = "decision")]
    _decision: Option<String>,
    #[serde(default)]
    pub(crate) request: RequestSpec,
    pub(crate) responses: Vec<ResponseSpec>,
    pub(crate) expect: Expect,
    #[serde(default)]
    pub(crate) then: Vec<Step>,
}

/// A further call with the same LLM on the same server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    #[serde(default)]
    pub(crate) request: RequestSpec,
    pub(crate) responses: Vec<ResponseSpec>,
    pub(crate) expect: Expect,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CallKind {
    #[default]
    Chat,
    Models,
    Agent,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestSpec {
    pub(crate) call: CallKind,
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: Vec<Value>,
    pub(crate) tool_choice: Option<Value>,
    pub(crate) response_format: Option<Value>,
    pub(crate) params: Map<String, Value>,
    pub(crate) stream: bool,
    pub(crate) settings: Map<String, Value>,
    /// Seconds to wait before this call.
    pub(crate) pause: f64,
}

impl Default for RequestSpec {
    fn default() -> Self {
        Self {
            call: CallKind::Chat,
            messages: vec![serde_json::json!({"role": "user", "content": "Hi"})],
            tools: Vec::new(),
            tool_choice: None,
            response_format: None,
            params: Map::new(),
            stream: true,
            settings: Map::new(),
            pause: 0.0,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResponseSpec {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Body,
    end: End,
    framing: Option<String>,
    /// Seconds before the status line.
    delay: f64,
}

impl Default for ResponseSpec {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            body: Body::Text(String::new()),
            end: End::Clean,
            framing: None,
            delay: 0.0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    Clean,
    Cut,
    Reset,
    Hang,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Text(String),
    Pieces(Vec<Write>),
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Write {
    Text(String),
    Base64 { base64: String },
    Repeat { repeat: usize, text: String },
    Wait { wait: f64 },
}

impl ResponseSpec {
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The body's bytes, each write on its own.
    fn pieces(&self) -> Vec<Piece> {
        match &self.body {
            Body::Text(text) => vec![Piece::Bytes(text.clone().into_bytes())],
            Body::Pieces(writes) => writes
                .iter()
                .map(|write| match write {
                    Write::Text(text) => Piece::Bytes(text.clone().into_bytes()),
                    Write::Base64 { base64 } => Piece::Bytes(from_base64(base64)),
                    Write::Repeat { repeat, text } => Piece::Bytes(text.repeat(*repeat).into_bytes()),
                    Write::Wait { wait } => Piece::Delay(Duration::from_secs_f64(*wait)),
                })
                .collect(),
        }
    }

    /// The body as the decoder gets it, or `None` if only a socket can bring it.
    pub(crate) fn plain_bytes(&self) -> Option<Vec<u8>> {
        let encoded = self.headers.keys().any(|name| name.eq_ignore_ascii_case("content-encoding"));
        if self.status != 200 || encoded || self.end == End::Hang {
            return None;
        }
        let mut bytes = Vec::new();
        for piece in self.pieces() {
            if let Piece::Bytes(part) = piece {
                bytes.extend_from_slice(&part);
            }
        }
        Some(bytes)
    }

    pub(crate) fn reply(&self, fill: &dyn Fn(&str) -> String) -> Reply {
        let mut reply = Reply::new(self.status);
        let mut streams = self.end != End::Clean;
        for (name, value) in &self.headers {
            streams |= name.eq_ignore_ascii_case("content-type") && value.starts_with("text/event-stream");
            reply = reply.header(name, fill(value));
        }
        reply = reply.framing(match self.framing.as_deref() {
            Some("length") => Framing::Length,
            Some("close") => Framing::UntilClose,
            Some("chunked") => Framing::Chunked,
            None if streams => Framing::Chunked,
            None => Framing::Length,
            Some(other) => panic!("unknown framing {other:?}"),
        });
        for piece in self.pieces() {
            reply = reply.then(piece);
        }
        if self.delay > 0.0 {
            reply = reply.delay_head(Duration::from_secs_f64(self.delay));
        }
        match self.end {
            End::Clean => reply,
            End::Cut => reply.then(Piece::Close),
            // What was written must arrive before the reset overtakes it.
            End::Reset => reply.then(Piece::Delay(Duration::from_millis(50))).then(Piece::Reset),
            End::Hang => reply.then(Piece::Hang),
        }
    }
}

fn no_rules() -> Option<Vec<String>> {
    Some(Vec::new())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) events: Option<Vec<Value>>,
    /// The deltas must come as they are written, not merged.
    pub(crate) unmerged: bool,
    pub(crate) completion: Option<Value>,
    pub(crate) error: Option<Value>,
    pub(crate) models: Option<Value>,
    pub(crate) attempts: Option<usize>,
    /// The rules that were used; `None`: not compared.
    #[serde(default = "no_rules")]
    pub(crate) ledger: Option<Vec<String>>,
    pub(crate) sent: Vec<Value>,
    /// At least and at most so many seconds.
    pub(crate) seconds: Option<(f64, f64)>,
    /// The answer depends on more than the bytes: it is not fed to the decoder.
    pub(crate) socket_only: bool,
    /// How many requests the server of another origin got.
    pub(crate) other_requests: Option<usize>,
    /// For `agent`: the calls that were executed, as `[name, arguments]`.
    pub(crate) executed: Option<Value>,
    /// For `agent`: the text of the answer.
    pub(crate) text: Option<Value>,
    /// What must not be shown in an error or an event.
    pub(crate) secrets: Vec<String>,
    /// How many connections the server has had in all.
    pub(crate) connections: Option<usize>,
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{c} is not base64"),
    };
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | u32::from(value(c));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
