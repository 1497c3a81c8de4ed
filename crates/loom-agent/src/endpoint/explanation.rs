//! What was asked and how it went, for people: the request that was sent last as a curl command without its secrets, and
//! what had to be bridged.

use std::fmt;

use loom_wire::LedgerEntry;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::sent::Sent;

/// The variable that stands for the key.
const KEY: &str = "LOOM_API_KEY";

/// How the last call of an LLM went. `Display` tells it in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The URL that was asked last, without the values of its query.
    pub url: String,
    /// How many requests were sent for the call, retries included; 0 while it goes on.
    pub attempts: u32,
    /// The server's name for the request.
    pub request_id: Option<String>,
    /// A command for a POSIX shell that sends the same request again. The key, and whatever else the caller's headers
    /// and query hold, are variables: `$LOOM_API_KEY`, `$X_TEAM`.
    pub curl: String,
    /// What was bridged in the call.
    pub ledger: Vec<LedgerEntry>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "asked: POST {}", self.url)?;
        writeln!(f, "requests sent: {}", self.attempts)?;
        if let Some(id) = &self.request_id {
            writeln!(f, "request id: {id}")?;
        }
        if self.ledger.is_empty() {
            writeln!(f, "ledger: empty, nothing had to be bridged")?;
        } else {
            writeln!(f, "ledger:")?;
            for entry in &self.ledger {
                writeln!(f, "- {entry}")?;
            }
        }
        write!(f, "to send the same again:\n{}", self.curl)
    }
}

impl Sent {
    /// The curl command. `scrub` takes known secrets out of the body.
    pub(crate) fn curl(&self, scrub: impl Fn(&mut String)) -> String {
        let mut body = without_secret_fields(&self.body);
        scrub(&mut body);
        let mut lines = vec![format!("curl -sS -N {}", url_word(&self.url))];
        for (name, value) in &self.headers {
            let is_looms_own = !value.is_sensitive() && [USER_AGENT, ACCEPT_ENCODING, HOST].contains(name);
            let basic = self.basic_user.as_ref().filter(|_| *name == AUTHORIZATION && value.is_sensitive());
            if let Some(user) = basic {
                // What the header holds is encoded, and the variable holds the key.
                let user =
                    if user.is_empty() { Word::default() } else { Word::default().text(&format!("{user}:")) };
                lines.push(format!("-u {}", user.variable(KEY).0));
            } else if !is_looms_own {
                lines.push(format!("-H {}", header_word(name, value)));
            }
        }
        lines.push(format!("--data-binary {}", Word::default().text(&body).0));
        lines.join(" \\\n  ")
    }
}

/// A word of a POSIX shell: text in single quotes, variables in double ones.
#[derive(Default)]
struct Word(String);

impl Word {
    fn text(mut self, text: &str) -> Self {
        if !text.is_empty() || self.0.is_empty() {
            self.0.push_str(&format!("'{}'", text.replace('\'', r"'\''")));
        }
        self
    }

    /// The variable of something that is called so: letters in upper case, anything else `_`.
    fn variable(mut self, name: &str) -> Self {
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = name.chars().map(upper).collect();
        let digit = if name.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
        self.0.push_str(&format!("\"${digit}{name}\""));
        self
    }
}

fn url_word(url: &Url) -> String {
    let mut plain = url.clone();
    plain.set_query(None);
    let mut word = Word::default();
    let mut text = plain.as_str().to_owned();
    for (at, (name, value)) in url.query_pairs().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.extend(url::form_urlencoded::byte_serialize(name.as_bytes()));
        text.push('=');
        // Azure's version is no secret.
        if name == "api-version" {
            text.push_str(&value);
        } else {
            word = word.text(&std::mem::take(&mut text)).variable(&name);
        }
    }
    if !text.is_empty() {
        word = word.text(&text);
    }
    word.0
}

fn header_word(name: &HeaderName, value: &HeaderValue) -> String {
    if !value.is_sensitive() && [CONTENT_TYPE, ACCEPT].contains(name) {
        return Word::default().text(&format!("{name}: {}", value.to_str().unwrap_or_default())).0;
    }
    if *name == AUTHORIZATION {
        const SCHEMES: [&str; 3] = ["Bearer", "Basic", "Token"];
        let written = value.to_str().unwrap_or_default().split(' ').next().unwrap_or_default();
        let scheme = SCHEMES.iter().find(|scheme| scheme.eq_ignore_ascii_case(written));
        let scheme = scheme.map(|scheme| format!("{scheme} ")).unwrap_or_default();
        return Word::default().text(&format!("{name}: {scheme}")).variable(KEY).0;
    }
    let holds_a_key = matches!(name.as_str(), "api-key" | "x-api-key");
    Word::default().text(&format!("{name}: ")).variable(if holds_a_key { KEY } else { name.as_str() }).0
}

/// The body, without the texts of fields that are called as if they held a secret.
fn without_secret_fields(body: &[u8]) -> String {
    const NAMES: [&str; 5] = ["key", "token", "secret", "password", "auth"];
    let text = String::from_utf8_lossy(body);
    let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(&text) else {
        return text.into_owned();
    };
    let mut changed = false;
    for (name, value) in &mut fields {
        let name = name.to_lowercase();
        if value.is_string() && NAMES.iter().any(|word| name.contains(word)) {
            *value = Value::from("…");
            changed = true;
        }
    }
    if changed { Value::Object(fields).to_string() } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;

    fn sent(url: &str, headers: &[(&'static str, &str, bool)], body: &str) -> Sent {
        let mut map = HeaderMap::new();
        for (name, value, sensitive) in headers {
            let mut value = HeaderValue::from_str(value).unwrap();
            value.set_sensitive(*sensitive);
            map.insert(*name, value);
        }
        let body = Bytes::from(body.to_owned());
        Sent { method: Method::POST, url: url.parse().unwrap(), headers: map, body, basic_user: None }
    }

    #[test]
    fn the_command_holds_no_secret_and_quotes_the_rest() {
        let command = sent(
            "https://h/v1/chat/completions?api-version=1&tenant=sk-query&9a=x",
            &[
                ("authorization", "Bearer sk-secret", true),
                ("x-team", "sk-header", true),
                ("content-type", "application/json", false),
                ("user-agent", "loom", false),
            ],
            r#"{"messages":"it's `$HOME` sk-secret","my_api_key":"sk-body"}"#,
        )
        .curl(|text| *text = text.replace("sk-secret", "…"));
        assert!(!command.contains("sk-"), "{command}");
        for part in [
            r#"'https://h/v1/chat/completions?api-version=1&tenant='"$TENANT"'&9a='"$_9A" \"#,
            r#"-H 'authorization: Bearer '"$LOOM_API_KEY""#,
            r#"-H 'x-team: '"$X_TEAM""#,
            "-H 'content-type: application/json'",
            r#"--data-binary '{"messages":"it'\''s `$HOME` …","my_api_key":"…"}'"#,
        ] {
            assert!(command.contains(part), "{part}\n{command}");
        }
        assert!(!command.contains("user-agent"));
    }

    #[test]
    fn basic_authentication_is_left_to_curl() {
        for (user, word) in [("ada", r#"-u 'ada:'"$LOOM_API_KEY""#), ("", r#"-u "$LOOM_API_KEY""#)] {
            let mut sent = sent("https://h/v1", &[("authorization", "Basic YWRhOnNr", true)], "{}");
            sent.basic_user = Some(user.to_owned());
            let command = sent.curl(|_| {});
            assert!(command.contains(word) && !command.contains("authorization"), "{command}");
        }
    }
}
