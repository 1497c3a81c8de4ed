//! What to do about a refusal: hints for people.

use loom_wire::{ErrorKind, LlmError};

use crate::model::path::is_wrong_path;
use crate::model::unified::Inner;

/// Words of a refusal → what to do. The first row whose words all stand in it counts.
const HINTS: &[(&[&str], &str)] = &[
    (
        &["enable-auto-tool-choice"],
        "this vLLM was started without tool calling: vllm serve MODEL --enable-auto-tool-choice --tool-call-parser hermes",
    ),
    (&["requires --tool-call-parser"], "start vLLM with --tool-call-parser (such as hermes) to force tools"),
    (&["--tool-call-parser"], "start the server with --tool-call-parser to use tools"),
    (&["requires --jinja"], "start llama-server with --jinja to use tools"),
    (
        &["does not support tools"],
        "this model has no tools: choose one that has (`ollama show MODEL` lists the capabilities)",
    ),
    (&["try pulling it first"], "pull the model first: ollama pull MODEL"),
    (&["mmproj"], "this model has no image input here: start llama-server with --mmproj"),
];

/// Adds what to do, where that is known.
pub(crate) fn explained(mut error: LlmError, llm: &Inner) -> LlmError {
    if error.hint.is_some() {
        return error;
    }
    let said = error.message.to_lowercase();
    let known = HINTS.iter().find(|(words, _)| words.iter().all(|word| said.contains(word)));
    error.hint = match (known, error.kind) {
        (Some((_, hint)), _) => Some((*hint).to_owned()),
        (None, ErrorKind::Auth) => Some(auth_hint(llm)),
        (None, ErrorKind::NotFound) if is_wrong_path(&error) => {
            Some("the server has no such path: is the base URL right, `/v1` included?".to_owned())
        }
        (None, ErrorKind::NotFound) => Some("`loom models` lists what the endpoint serves".to_owned()),
        (None, ErrorKind::ContextLength) => {
            Some("shorten the conversation, or use a model or server setting with a larger context".to_owned())
        }
        (None, ErrorKind::Quota) => Some("waiting does not help: check the account's balance or plan".to_owned()),
        (None, ErrorKind::Server) if error.status_code == Some(500) && said.contains("internal server error") => {
            Some("the server does not say why; its log does. FastChat answers so when it does not know a message's role".to_owned())
        }
        _ => None,
    };
    error
}

fn auth_hint(llm: &Inner) -> String {
    let variables = llm.provider.key_env.join(" or ");
    match (llm.endpoint.has_key(), variables.is_empty()) {
        (true, _) => format!("the key that was given is not valid at {}", llm.endpoint.base_url().origin()),
        (false, true) => "no key was sent: give one as api_key".to_owned(),
        (false, false) => format!(
            "no key was sent: give one as api_key. A key in {variables} is used only for {}'s own address or one that the environment names",
            llm.provider.name
        ),
    }
}
