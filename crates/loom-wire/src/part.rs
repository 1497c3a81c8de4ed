//! Parts of a message beside text: images, audio and files, brought to the form that servers take.
//!
//! Users write short parts, `{"type": "image" | "audio" | "file"}` with one of `path`, `url` and `data` (base64); OpenAI's
//! own parts stay as they are. Nothing is fetched: an image's URL goes to the server, which loads it or refuses. Files are
//! read by the caller, who knows how; this module does no IO.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::error::LlmError;
use crate::message::{Content, Message};

/// An image at a path, a URL (`http`, `https`, `data`), or as bytes.
pub fn image(source: impl Into<Source>) -> Value {
    source.into().part("image")
}

/// Audio at a path or as bytes.
pub fn audio(source: impl Into<Source>) -> Value {
    source.into().part("audio")
}

/// A file (a PDF, mostly) at a path or as bytes.
pub fn file(source: impl Into<Source>) -> Value {
    source.into().part("file")
}

/// Text, beside other parts.
pub fn text(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

/// Where the bytes of a part are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file, read when the message is sent.
    Path(String),
    /// At a URL that the server loads, or in a `data:` URL.
    Url(String),
    /// Here.
    Bytes(Vec<u8>),
}

impl Source {
    fn part(self, kind: &str) -> Value {
        match self {
            Self::Path(path) => json!({"type": kind, "path": path}),
            Self::Url(url) => json!({"type": kind, "url": url}),
            Self::Bytes(bytes) => json!({"type": kind, "data": BASE64.encode(bytes)}),
        }
    }
}

impl From<&str> for Source {
    /// A URL where it begins like one, else a path.
    fn from(text: &str) -> Self {
        let is_url = ["http://", "https://", "data:"].iter().any(|start| text.starts_with(start));
        if is_url { Self::Url(text.to_owned()) } else { Self::Path(text.to_owned()) }
    }
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_string_lossy().into_owned())
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Source {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// Whether a message holds parts that servers do not take as they are written.
pub fn has_short_parts(message: &Message) -> bool {
    match &message.content {
        Some(Content::Parts(parts)) => parts.iter().any(|part| part.is_string() || kind_of(part).is_some()),
        _ => false,
    }
}

fn kind_of(part: &Value) -> Option<&str> {
    let kind = part.get("type")?.as_str()?;
    let is_short = matches!(kind, "image" | "audio" | "file") && part.get(kind).is_none();
    is_short.then_some(kind)
}

/// Brings a message's parts to the form that servers take. `read` yields the bytes of a file.
///
/// # Errors
/// `config`, naming the part and what is wrong with it.
pub fn resolve(
    message: &mut Message,
    read: &dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<(), LlmError> {
    let Some(Content::Parts(parts)) = &mut message.content else { return Ok(()) };
    for part in parts {
        if let Some(said) = part.as_str() {
            *part = text(said);
        } else if let (Some(kind), Some(fields)) = (kind_of(part), part.as_object()) {
            *part = resolved(kind, fields, read)?;
        }
    }
    Ok(())
}

fn resolved(
    kind: &str,
    fields: &Map<String, Value>,
    read: &dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<Value, LlmError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let wrong = |why: String| Err(LlmError::config(format!("a part of type {kind:?}: {why}")));
    let known = ["type", "path", "url", "data", "media_type", "detail", "format", "filename"];
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return wrong(format!("it has no field {name:?}"));
    }
    let (bytes, path) = match (text("path"), text("url"), text("data")) {
        (Some(path), None, None) => match read(Path::new(path)) {
            Ok(bytes) => (bytes, Some(path)),
            Err(error) => return wrong(format!("{path} cannot be read: {error}")),
        },
        (None, Some(url), None) => return at_url(kind, url, fields),
        (None, None, Some(data)) => match BASE64.decode(data.trim()) {
            Ok(bytes) => (bytes, None),
            Err(error) => return wrong(format!("its data is not base64: {error}")),
        },
        _ => return wrong("it needs one of path, url and data".to_owned()),
    };
    if bytes.is_empty() {
        return wrong(format!("{} is empty", path.unwrap_or("its data")));
    }
    let found = text("media_type").or_else(|| by_bytes(&bytes)).or_else(|| by_name(path.unwrap_or_default()));
    let data = BASE64.encode(&bytes);
    match (kind, found) {
        ("image", Some(media)) if media.starts_with("image/") => {
            Ok(image_url(&format!("data:{media};base64,{data}"), text("detail")))
        }
        ("audio", found) => {
            let format = text("format").or_else(|| found.and_then(audio_format));
            match format {
                Some(format) => {
                    Ok(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
                }
                None => {
                    wrong("it is no audio that is known here: give its format, such as \"wav\"".to_owned())
                }
            }
        }
        ("file", found) => {
            let media = found.unwrap_or("application/octet-stream");
            let own_name = path.and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
            let name = text("filename").or(own_name).unwrap_or("file");
            Ok(
                json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{media};base64,{data}")}}),
            )
        }
        (_, Some(media)) => wrong(format!("{} is {media}, not an image", path.unwrap_or("it"))),
        (_, None) => {
            wrong("it is no image that is known here: give its media_type, such as \"image/png\"".to_owned())
        }
    }
}

fn image_url(url: &str, detail: Option<&str>) -> Value {
    let mut image = json!({"url": url});
    if let (Some(detail), Some(fields)) = (detail, image.as_object_mut()) {
        fields.insert("detail".to_owned(), detail.into());
    }
    json!({"type": "image_url", "image_url": image})
}

fn at_url(kind: &str, url: &str, fields: &Map<String, Value>) -> Result<Value, LlmError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    match kind {
        "image" => Ok(image_url(url, text("detail"))),
        // vLLM's form; OpenAI takes no URL of audio.
        "audio" => Ok(json!({"type": "audio_url", "audio_url": {"url": url}})),
        // OpenRouter takes a URL here, OpenAI a `data:` URL only.
        _ => {
            let last = url
                .split(['?', '#'])
                .next()
                .unwrap_or_default()
                .rsplit('/')
                .next()
                .filter(|name| !name.is_empty());
            let name = text("filename").or(last.filter(|_| !url.starts_with("data:"))).unwrap_or("file");
            Ok(json!({"type": "file", "file": {"filename": name, "file_data": url}}))
        }
    }
}

/// Media types by how their files begin: offset, bytes, type.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
    (0, b"%PDF-", "application/pdf"),
];

/// Media types by the ends of names, for what its bytes do not tell.
const NAMES: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("svg", "image/svg+xml"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("html", "text/html"),
];

fn by_bytes(bytes: &[u8]) -> Option<&'static str> {
    let begins = |(offset, magic, _): &&(usize, &[u8], &str)| {
        bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic))
    };
    MAGIC.iter().find(begins).map(|(_, _, media)| *media)
}

fn by_name(path: &str) -> Option<&'static str> {
    let end = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    NAMES.iter().find(|(known, _)| *known == end).map(|(_, media)| *media)
}

/// The name that `input_audio` has for a media type.
fn audio_format(media: &str) -> Option<&str> {
    match media {
        "audio/mpeg" => Some("mp3"),
        "audio/mp4" => Some("m4a"),
        other => other.strip_prefix("audio/").map(|name| name.trim_start_matches("x-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";

    fn resolve_part(part: Value) -> Result<Value, String> {
        let mut message = Message::user(Content::Parts(vec![part]));
        assert!(has_short_parts(&message));
        let read = |path: &Path| match path.to_str() {
            Some("cat.png") => Ok(PNG.to_vec()),
            Some("a.csv") => Ok(b"a,b".to_vec()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        resolve(&mut message, &read).map_err(|error| error.message.clone())?;
        match message.content {
            Some(Content::Parts(mut parts)) => Ok(parts.remove(0)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_source_in_the_servers_form() {
        let url = |part: Value| resolve_part(part).unwrap()["image_url"]["url"].as_str().unwrap().to_owned();
        let data = format!("data:image/png;base64,{}", BASE64.encode(PNG));
        assert_eq!(url(image("cat.png")), data);
        assert_eq!(url(image(PNG)), data);
        assert_eq!(url(image("https://h/cat.png")), "https://h/cat.png");
        assert_eq!(resolve_part(json!("Hi")).unwrap(), text("Hi"));

        let part = resolve_part(audio(&b"RIFF....WAVEfmt "[..])).unwrap();
        assert_eq!(part["input_audio"]["format"], "wav");
        let part = resolve_part(file("a.csv")).unwrap();
        assert_eq!(part["file"], json!({"filename": "a.csv", "file_data": "data:text/csv;base64,YSxi"}));
        let part = resolve_part(file(&b"%PDF-1.7"[..])).unwrap();
        assert!(part["file"]["file_data"].as_str().unwrap().starts_with("data:application/pdf;base64,"));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        for (part, why) in [
            (image("dog.png"), "dog.png cannot be read"),
            (image("a.csv"), "not an image"),
            (image(&b"??"[..]), "media_type"),
            (audio(&b"??"[..]), "format"),
            (image(&b""[..]), "one of path, url and data"),
            (json!({"type": "image", "data": "?"}), "base64"),
            (json!({"type": "image", "path": "cat.png", "size": 1}), "\"size\""),
        ] {
            let error = resolve_part(part).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn parts_of_the_format_stay() {
        let own = json!({"type": "file", "file": {"file_id": "f-1"}});
        assert!(!has_short_parts(&Message::user(Content::Parts(vec![own, text("x")]))));
    }
}
