//! What an endpoint was given in confidence, so that no error shows it: servers quote keys ("Incorrect API key
//! provided: …") and proxies quote headers.

use loom_wire::LlmError;
use secrecy::{ExposeSecret, SecretString};

use super::{Credential, Headers};

/// What people write where a server wants no key.
const PLACEHOLDERS: [&str; 6] =
    ["EMPTY", "lm-studio", "ollama", "not-needed", "no-key", "sk-no-key-required"];

/// Shorter texts are no secrets, and taking them out would only spoil an error.
const SHORTEST: usize = 6;

/// The key, the values of the caller's headers, and those of the query.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(super) fn of(credential: &Credential, headers: &Headers, query: &[(String, String)]) -> Self {
        let mut found: Vec<&str> = credential.key().into_iter().collect();
        for (_, value) in headers {
            // `Authorization: Token abc` is quoted as `abc`.
            found.extend(value.iter().flat_map(|value| value.split_whitespace()));
        }
        found.extend(query.iter().filter(|(name, _)| name != "api-version").map(|(_, value)| value.as_str()));
        found.retain(|text| text.len() >= SHORTEST && !PLACEHOLDERS.contains(text));
        // The longest first: one may contain another.
        found.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(found.into_iter().map(Into::into).collect())
    }

    /// Takes them out of an error.
    pub(super) fn scrub(&self, error: &mut LlmError) {
        let details = &mut **error;
        let texts = [
            Some(&mut details.message),
            details.body.as_mut(),
            details.code.as_mut(),
            details.param.as_mut(),
            details.hint.as_mut(),
            details.request_id.as_mut(),
        ];
        for text in texts.into_iter().flatten() {
            for secret in &self.0 {
                if text.contains(secret.expose_secret()) {
                    *text = text.replace(secret.expose_secret(), "…");
                }
            }
        }
    }
}
