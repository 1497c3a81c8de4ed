//! What a tool of a server returned, as the model gets it.

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
            ContentBlock::Image(image) => {
                parts.push(json!({"type": "image", "data": image.data, "media_type": image.mime_type}));
            }
            ContentBlock::Audio(audio) => {
                parts.push(json!({"type": "audio", "data": audio.data, "media_type": audio.mime_type}));
            }
            ContentBlock::Resource(resource) => match resource.resource {
                ResourceContents::TextResourceContents { text, .. } => texts.push(text),
                ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                    let media = mime_type.unwrap_or_default();
                    if media.starts_with("image/") {
                        parts.push(json!({"type": "image", "data": blob, "media_type": media}));
                    } else {
                        texts.push(format!("[the file {uri}, {media}: it cannot be shown here]"));
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
