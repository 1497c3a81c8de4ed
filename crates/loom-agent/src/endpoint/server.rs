//! Which software answers at an origin, recognised by what its answers give away anyway: never by a request made to find
//! out.
//!
//! A mark is looked for in the headers and in the beginning of a body, until one was found or some answers gave none. Errors
//! are always looked at, since gateways show their name there. Rows stand in the order of their word: a gateway that shows
//! itself counts more than the server behind it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use reqwest::header::HeaderMap;

/// What gives a server away.
enum Mark {
    /// A header whose value begins so, in any case.
    Header(&'static str, &'static str),
    /// A field of the JSON, by its name and the beginning of its value (a text with its quotation mark).
    Field(&'static str, &'static str),
    /// The `id` of an answer: so many letters and digits behind this beginning.
    Id(&'static str, usize),
    /// These bytes.
    Text(&'static str),
}

use Mark::{Field, Header, Id, Text};

/// Name → marks. The names are those of providers where there is one. Sources: each server's code, or answers recorded from
/// it (section 0.1 of the wire notes).
const SERVERS: &[(&str, &[Mark])] = &[
    // Gateways.
    ("litellm", &[Header("x-litellm-version", ""), Header("x-litellm-call-id", "")]),
    ("new-api", &[Field("type", "\"new_api_error\"")]),
    ("one-api", &[Header("x-oneapi-request-id", ""), Field("type", "\"one_api_error\"")]),
    (
        "openrouter",
        &[
            Text(": OPENROUTER PROCESSING"),
            Field("native_finish_reason", ""),
            Header("x-generation-id", "gen-"),
        ],
    ),
    // Clouds.
    ("azure", &[Header("apim-request-id", ""), Field("prompt_filter_results", "")]),
    ("groq", &[Field("x_groq", "{")]),
    ("gemini", &[Field("thought_signature", "\"")]),
    ("anthropic", &[Header("anthropic-organization-id", ""), Field("id", "\"msg_")]),
    ("xai", &[Field("cost_in_usd_ticks", ""), Field("num_sources_used", "")]),
    ("mistral", &[Field("raw_status_code", ""), Field("owned_by", "\"mistralai\"")]),
    ("fireworks", &[Field("model", "\"accounts/fireworks/")]),
    ("kimi", &[Field("system_fingerprint", "\"fpv0_"), Field("owned_by", "\"moonshot\"")]),
    ("deepseek", &[Field("prompt_cache_hit_tokens", ""), Field("owned_by", "\"deepseek\"")]),
    ("openai", &[Header("openai-version", ""), Field("obfuscation", "\"")]),
    // Servers that users run themselves.
    ("llamacpp", &[Header("server", "llama.cpp"), Field("owned_by", "\"llamacpp\"")]),
    ("ollama", &[Field("system_fingerprint", "\"fp_ollama\""), Field("owned_by", "\"library\"")]),
    ("lmdeploy", &[Field("owned_by", "\"lmdeploy\"")]),
    ("xinference", &[Field("owned_by", "\"xinference\"")]),
    // shortuuid's ids; OpenAI's and all others known are shorter or longer.
    ("fastchat", &[Field("owned_by", "\"fastchat\""), Id("chatcmpl-", 22)]),
    ("lmstudio", &[Text("Unexpected endpoint or method. (")]),
    ("tgi", &[Header("x-compute-type", ""), Text("-native\"")]),
    ("sglang", &[Field("owned_by", "\"sglang\""), Field("matched_stop", "")]),
    (
        "vllm",
        &[
            Field("owned_by", "\"vllm\""),
            Field("system_fingerprint", "\"vllm-"),
            Field("prompt_token_ids", ""),
        ],
    ),
    ("textgen", &[Field("owned_by", "\"user\"")]),
    ("llama-cpp-python", &[Field("owned_by", "\"me\""), Field("id", "\"call__0_")]),
];

/// As much of a body's beginning is looked at, in bytes.
const BEGINNING: usize = 2048;
/// As many answers without a mark are looked at.
const MOST_LOOKS: usize = 16;

/// What was seen at one origin. Shared by all endpoints there.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The row that was recognised, plus 1; 0: none.
    row: AtomicUsize,
    looks: AtomicUsize,
}

impl Seen {
    /// What is known of an origin.
    pub(crate) fn at(origin: &str) -> Arc<Self> {
        static SEEN: LazyLock<RwLock<HashMap<String, Arc<Seen>>>> = LazyLock::new(RwLock::default);
        if let Some(seen) = SEEN.read().unwrap_or_else(PoisonError::into_inner).get(origin) {
            return Arc::clone(seen);
        }
        let mut all = SEEN.write().unwrap_or_else(PoisonError::into_inner);
        // A process that goes to more origins than this looks again at the others.
        if all.len() >= 4096 {
            return Arc::default();
        }
        Arc::clone(all.entry(origin.to_owned()).or_default())
    }

    /// The name of what was recognised.
    pub(crate) fn name(&self) -> Option<&'static str> {
        let row = self.row.load(Ordering::Relaxed).checked_sub(1)?;
        SERVERS.get(row).map(|(name, _)| *name)
    }

    /// Whether an answer is worth a look.
    pub(crate) fn is_open(&self) -> bool {
        self.row.load(Ordering::Relaxed) == 0 && self.looks.load(Ordering::Relaxed) < MOST_LOOKS
    }

    /// Looks at an answer: its headers and the beginning of its body.
    pub(crate) fn look(&self, headers: &HeaderMap, body: &[u8]) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let Some(found) = recognise(headers, body) else { return };
        let _ = self.row.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |row| {
            (row == 0 || found + 1 < row).then_some(found + 1)
        });
    }
}

/// The names of all servers that can be recognised.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SERVERS.iter().map(|(name, _)| *name)
}

fn recognise(headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    let body = body.get(..body.len().min(BEGINNING)).unwrap_or(body);
    let shows = |mark: &Mark| match mark {
        Header(name, value) => {
            headers.get(*name).and_then(|found| found.to_str().ok()).is_some_and(|found| {
                found.get(..value.len()).is_some_and(|start| start.eq_ignore_ascii_case(value))
            })
        }
        Field(name, value) => has_field(body, name.as_bytes(), value.as_bytes()),
        Id(start, length) => has_id(body, start, *length),
        Text(text) => find(body, text.as_bytes()).is_some(),
    };
    SERVERS.iter().position(|(_, marks)| marks.iter().any(shows))
}

/// Whether `"name": value` stands in it. Within a JSON text the quotation marks would be escaped.
fn has_field(body: &[u8], name: &[u8], value: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = find(rest, name) {
        let before = at.checked_sub(1).and_then(|at| rest.get(at));
        let escaped = at.checked_sub(2).and_then(|at| rest.get(at)) == Some(&b'\\');
        let Some(after) = rest.get(at + name.len()..) else { return false };
        rest = after;
        if before == Some(&b'"')
            && !escaped
            && let Some(after) = after.strip_prefix(b"\"")
            && let Some(after) = after.trim_ascii_start().strip_prefix(b":")
            && after.trim_ascii_start().starts_with(value)
        {
            return true;
        }
    }
    false
}

/// Whether the first `id` in it begins so and goes on with so many letters and digits.
fn has_id(body: &[u8], start: &str, length: usize) -> bool {
    let Some(at) = find(body, b"\"id\"") else { return false };
    let value = body.get(at + 4..).unwrap_or_default().trim_ascii_start();
    let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
    let Some(id) = value.strip_prefix(b"\"").and_then(|value| value.strip_prefix(start.as_bytes())) else {
        return false;
    };
    id.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count() == length
        && id.get(length) == Some(&b'"')
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn name(header: Option<(&'static str, &str)>, body: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let seen = Seen::default();
        seen.look(&headers, body.as_bytes());
        seen.name()
    }

    #[test]
    fn marks_of_servers() {
        assert_eq!(name(Some(("server", "llama.cpp")), ""), Some("llamacpp"));
        assert_eq!(name(None, r#"{"data":[{"id":"x","owned_by": "vllm"}]}"#), Some("vllm"));
        assert_eq!(
            name(None, r#"data: {"id":"chatcmpl-1","system_fingerprint":"fp_ollama"}"#),
            Some("ollama")
        );
        assert_eq!(
            name(None, r#"{"error":{"message":"x","type":"new_api_error","code":""}}"#),
            Some("new-api")
        );
        assert_eq!(name(None, ": OPENROUTER PROCESSING\n\n"), Some("openrouter"));
        assert_eq!(name(None, r#"{"id":"chatcmpl-vWUrJtoXPjfDTQQ8CcHWaa","object":"x"}"#), Some("fastchat"));
        assert_eq!(name(None, r#"data: {"id": "chatcmpl-vWUrJtoXPjfDTQQ8CcHWaa", "model"#), Some("fastchat"));
        assert_eq!(name(None, r#"{"id":"chatcmpl-vWUrJtoXPjfDTQQ8CcHWaab","object":"x"}"#), None);
        assert_eq!(name(Some(("server", "uvicorn")), r#"{"id":"x"}"#), None);
    }

    #[test]
    fn what_a_model_says_is_no_mark() {
        let quoted = r#"{"choices":[{"message":{"content":"{\"owned_by\":\"vllm\", matched_stop: 1}"}}]}"#;
        assert_eq!(name(None, quoted), None);
    }

    #[test]
    fn a_gateway_counts_more_than_what_is_behind_it() {
        let seen = Seen::default();
        let none = HeaderMap::new();
        seen.look(&none, br#"{"owned_by":"vllm"}"#);
        assert!(!seen.is_open());
        seen.look(&none, br#"{"error":{"type":"one_api_error"}}"#);
        assert_eq!(seen.name(), Some("one-api"));
        seen.look(&none, br#"{"owned_by":"vllm"}"#);
        assert_eq!(seen.name(), Some("one-api"));
    }

    #[test]
    fn it_is_looked_for_only_so_often() {
        let seen = Seen::default();
        for _ in 0..MOST_LOOKS {
            assert!(seen.is_open());
            seen.look(&HeaderMap::new(), b"{}");
        }
        assert!(!seen.is_open());
    }
}
