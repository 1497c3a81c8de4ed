//! What an endpoint was given in confidence, so that no error shows it: servers quote keys ("Incorrect API key
//! provided: …") and proxies quote headers.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use loom_wire::LlmError;
use secrecy::{ExposeSecret, SecretString};

use super::Headers;

/// What people write where a server wants no key.
const PLACEHOLDERS: [&str; 6] =
    ["EMPTY", "lm-studio", "ollama", "not-needed", "no-key", "sk-no-key-required"];

/// Shorter texts are no secrets, and taking them out would only spoil an error.
const SHORTEST: usize = 6;

/// How many of the tokens, signatures and headers of single calls are remembered; a call under way may quote one.
const LEARNT: usize = 256;

/// Headers whose values are no secrets and stand in many an error.
const OPEN_HEADERS: [&str; 6] = ["accept", "content-type", "date", "host", "user-agent", "x-amz-date"];

/// The keys, the values of the caller's headers, and those of the query.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Known from the start.
    given: Vec<SecretString>,
    /// Came with calls.
    learnt: RwLock<VecDeque<SecretString>>,
}

impl Secrets {
    pub(super) fn new(keys: Vec<String>, headers: &Headers, query: &[(String, String)]) -> Self {
        let mut given = keys;
        given.extend(in_headers(headers));
        given.extend(query.iter().filter(|(name, _)| name != "api-version").map(|(_, value)| value.clone()));
        Self { given: given.into_iter().flat_map(forms).map(Into::into).collect(), learnt: RwLock::default() }
    }

    /// Adds what came later: tokens, signatures.
    pub(super) fn learn(&self, texts: impl IntoIterator<Item = String>) {
        let mut learnt = self.learnt.write().unwrap_or_else(PoisonError::into_inner);
        for text in texts.into_iter().flat_map(forms) {
            if learnt.iter().all(|known| known.expose_secret() != text) {
                learnt.push_back(text.into());
            }
            if learnt.len() > LEARNT {
                learnt.pop_front();
            }
        }
    }

    /// Adds the values of headers.
    pub(super) fn learn_headers(&self, headers: &Headers) {
        if !headers.is_empty() {
            self.learn(in_headers(headers));
        }
    }

    /// Takes them out of an error.
    pub(super) fn scrub(&self, error: &mut LlmError) {
        self.with_all(|secrets| {
            let details = &mut **error;
            let texts = [
                Some(&mut details.message),
                details.body.as_mut(),
                details.code.as_mut(),
                details.param.as_mut(),
                details.hint.as_mut(),
                details.request_id.as_mut(),
                details.url.as_mut(),
            ];
            let partial = details.partial.iter_mut().flat_map(|partial| &mut partial.ledger);
            let noted = details.ledger.iter_mut().chain(partial).map(|entry| &mut entry.detail);
            for text in texts.into_iter().flatten().chain(noted) {
                take_out(secrets, text);
            }
        });
    }

    /// Takes them out of a text.
    pub(super) fn scrub_text(&self, text: &mut String) {
        self.with_all(|secrets| take_out(secrets, text));
    }

    /// All that are known, the longest first: one may contain another.
    fn with_all(&self, work: impl FnOnce(&[&str])) {
        let learnt = self.learnt.read().unwrap_or_else(PoisonError::into_inner);
        let mut secrets: Vec<&str> =
            self.given.iter().chain(learnt.iter()).map(|text| text.expose_secret()).collect();
        secrets.sort_by_key(|text| std::cmp::Reverse(text.len()));
        work(&secrets);
    }
}

fn take_out(secrets: &[&str], text: &mut String) {
    for secret in secrets {
        if text.contains(secret) {
            *text = text.replace(secret, "…");
        }
    }
}

/// A text as it is and as it stands in a URL, if it is a secret.
fn forms(text: String) -> impl Iterator<Item = String> {
    let is_secret = text.len() >= SHORTEST && !PLACEHOLDERS.contains(&text.as_str());
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let encoded = (encoded != text).then_some(encoded);
    std::iter::once(text).chain(encoded).filter(move |_| is_secret)
}

fn in_headers(headers: &Headers) -> impl Iterator<Item = String> {
    headers
        .iter()
        .filter(|(name, _)| !OPEN_HEADERS.iter().any(|open| name.eq_ignore_ascii_case(open)))
        // `Authorization: Token abc` is quoted as `abc`.
        .flat_map(|(_, value)| value.iter().flat_map(|value| value.split_whitespace()))
        .map(str::to_owned)
}
