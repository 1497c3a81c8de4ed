//! The list of models that an endpoint serves, in each of its shapes.

use serde_json::Value;

/// The ids in the body of `GET /models`, or `None` if it is no such list.
///
/// Shapes: `{"data": [{"id"}]}`; `data: null` (Ollama without models); both `models` and `data` (llama.cpp: `data`
/// counts); a bare list (Together); entries that are only names.
pub fn ids(body: &[u8]) -> Option<Vec<String>> {
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
    let mut ids: Vec<String> = Vec::new();
    for entry in entries {
        let id = entry
            .as_str()
            .or_else(|| ["id", "model", "name"].iter().find_map(|key| entry.get(key)?.as_str()));
        if let Some(id) = id.filter(|id| !id.is_empty() && !ids.iter().any(|known| known == id)) {
            ids.push(id.to_owned());
        }
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::ids;

    #[test]
    fn every_shape() {
        let list = |text: &str| ids(text.as_bytes());
        assert_eq!(list(r#"{"object":"list","data":null}"#), Some(vec![]));
        assert_eq!(
            list(r#"{"models":[{"name":"x"}],"data":[{"id":"a"},{"id":"a"}]}"#),
            Some(vec!["a".into()])
        );
        assert_eq!(list(r#"[{"id":"a"},"b"]"#), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list("<html>"), None);
        assert_eq!(list(r#"{"detail":"Not Found"}"#), None);
    }
}
