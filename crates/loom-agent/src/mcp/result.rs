//! What a tool of a server returned, as the model gets it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use loom_wire::{Content, part};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

/// The content of a result: a text where there is nothing but text, else parts.
pub(super) fn content(result: CallToolResult) -> Content {
    let mut texts = Vec::new();
    let mut parts = Vec::new();
    for block in result.content {
        match block {
            ContentBlock::Text(text) => texts.push(text.text),
            ContentBlock::Image(image) => match media("image", &image.data, &image.mime_type) {
                Some(part) => parts.push(part),
                None => texts.push(unreadable(&image.mime_type)),
            },
            ContentBlock::Audio(audio) => match media("audio", &audio.data, &audio.mime_type) {
                Some(part) => parts.push(part),
                None => texts.push(unreadable(&audio.mime_type)),
            },
            ContentBlock::Resource(resource) => match resource.resource {
                ResourceContents::TextResourceContents { text, .. } => texts.push(text),
                ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                    let kind = mime_type.unwrap_or_default();
                    match media("image", &blob, &kind) {
                        Some(part) => parts.push(part),
                        None => texts.push(format!("[the file {uri}, {kind}: it cannot be shown here]")),
                    }
                }
                _ => texts.push("[a resource of a kind that is not known here]".to_owned()),
            },
            ContentBlock::ResourceLink(link) => {
                let described = link.description.map(|text| format!(": {text}")).unwrap_or_default();
                texts.push(format!("[a resource: {} at {}{described}]", link.name, link.uri));
            }
            _ => texts.push("[content of a kind that is not known here]".to_owned()),
        }
    }
    // Servers repeat structured content as text; where one does not, it is the result.
    if texts.is_empty() && parts.is_empty() {
        texts.extend(result.structured_content.as_ref().map(Value::to_string));
    }
    let text = texts.join("\n");
    if parts.is_empty() {
        return Content::Text(text);
    }
    if !text.is_empty() {
        parts.insert(0, part::text(text));
    }
    Content::Parts(parts)
}

/// A part, if its data can be sent: what cannot would fail the next question to the model.
fn media(kind: &str, data: &str, media_type: &str) -> Option<Value> {
    let fits = media_type.strip_prefix(kind).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
    let is_data = BASE64.decode(data.trim()).is_ok_and(|bytes| !bytes.is_empty());
    (fits && is_data).then(|| json!({"type": kind, "data": data, "media_type": media_type}))
}

fn unreadable(media_type: &str) -> String {
    format!("[content of type {media_type:?} that cannot be read]")
}
