//! The list of models that an endpoint serves, in each of its shapes.

use serde_json::Value;

/// A model that an endpoint lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is asked for by.
    pub id: String,
    /// How many tokens its context holds, where the list says so.
    pub context_window: Option<u64>,
}

/// Where the lists say what a context holds, what is loaded before what the model could: LM Studio; vLLM, SGLang; llama.cpp;
/// LiteLLM; OpenRouter, Together; Groq; Mistral, LM Studio.
const WINDOWS: [&str; 7] = [
    "/loaded_context_length",
    "/max_model_len",
    "/meta/n_ctx",
    "/max_input_tokens",
    "/context_length",
    "/context_window",
    "/max_context_length",
];

/// The models in the body of `GET /models`, or `None` if it is no such list.
///
/// Shapes: `{"data": [{"id"}]}`; `data: null` (Ollama without models); both `models` and `data` (llama.cpp: `data`
/// counts); a bare list (Together); entries that are only names.
pub fn listed(body: &[u8]) -> Option<Vec<Listed>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let entries = match &body {
        Value::Array(entries) => entries.as_slice(),
        Value::Object(fields) => match fields.get("data").or_else(|| fields.get("models"))? {
            Value::Array(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return None,
        },
        _ => return None,
    };
    let mut models: Vec<Listed> = Vec::new();
    for entry in entries {
        let id = entry
            .as_str()
            .or_else(|| ["id", "model", "name"].iter().find_map(|key| entry.get(key)?.as_str()));
        if let Some(id) = id.filter(|id| !id.is_empty() && !models.iter().any(|known| known.id == *id)) {
            let said = WINDOWS.iter().find_map(|place| entry.pointer(place)?.as_u64());
            models.push(Listed { id: id.to_owned(), context_window: said.filter(|tokens| *tokens > 0) });
        }
    }
    Some(models)
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn every_shape() {
        let list = |text: &str| {
            let models = listed(text.as_bytes())?;
            Some(models.into_iter().map(|model| model.id).collect::<Vec<_>>())
        };
        assert_eq!(list(r#"{"object":"list","data":null}"#), Some(vec![]));
        assert_eq!(
            list(r#"{"models":[{"name":"x"}],"data":[{"id":"a"},{"id":"a"}]}"#),
            Some(vec!["a".into()])
        );
        assert_eq!(list(r#"[{"id":"a"},"b"]"#), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list("<html>"), None);
        assert_eq!(list(r#"{"detail":"Not Found"}"#), None);
    }

    #[test]
    fn what_a_context_holds() {
        let list = |text: &str| listed(text.as_bytes()).unwrap().remove(0).context_window;
        assert_eq!(list(r#"{"data":[{"id":"a","max_model_len":2048}]}"#), Some(2048));
        assert_eq!(list(r#"{"data":[{"id":"a","meta":{"n_ctx":512,"n_ctx_train":2048}}]}"#), Some(512));
        assert_eq!(
            list(r#"{"data":[{"id":"a","max_context_length":32768,"loaded_context_length":4096}]}"#),
            Some(4096)
        );
        assert_eq!(list(r#"{"data":[{"id":"a","context_length":"big","context_window":0}]}"#), None);
    }
}
