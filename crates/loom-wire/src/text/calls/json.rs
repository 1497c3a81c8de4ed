//! Calls as JSON: an object with name and arguments, several of them, or a list.

use crate::arguments::loose::{self, Fault};
use crate::text::calls::{Head, Offer, Unread, WrittenCall};

const NAMES: &[&str] = &["name", "tool_name", "tool", "function_name"];
const ARGUMENTS: &[&str] = &["arguments", "parameters", "args", "input"];
const IDS: &[&str] = &["id", "call_id", "tool_call_id"];

/// Whether a text begins an object that may be a call. Without a mark, the name must come first.
pub(super) fn head(text: &str, marked: bool, offer: &Offer) -> Head {
    let mut rest = text.trim_start();
    if let Some(inner) = rest.strip_prefix('[') {
        rest = inner.trim_start();
    }
    let Some(inner) = rest.strip_prefix('{') else {
        return if rest.is_empty() { Head::More } else { Head::Not };
    };
    let (quote, inner) = match inner.trim_start().split_at_checked(1) {
        Some((quote @ ("\"" | "'"), inner)) => (quote, inner),
        Some(_) => return Head::Not,
        None => return Head::More,
    };
    let known = |key: &str| {
        NAMES.contains(&key)
            || matches!(key, "type" | "function")
            || (marked && (ARGUMENTS.contains(&key) || IDS.contains(&key)))
    };
    let Some((key, value)) = inner.split_once(quote) else {
        let mut keys = NAMES.iter().chain(ARGUMENTS).chain(IDS).chain(&["type", "function"]);
        return if keys.any(|key| key.starts_with(inner)) { Head::More } else { Head::Not };
    };
    if !known(key) {
        return Head::Not;
    }
    let Some(value) = value.trim_start().strip_prefix(':') else {
        return if value.trim_start().is_empty() { Head::More } else { Head::Not };
    };
    let value = value.trim_start();
    if value.is_empty() {
        return Head::More;
    }
    match (key, value.split_at_checked(1)) {
        ("type", Some((quote @ ("\"" | "'"), word))) => match word.split_once(quote) {
            Some(("function", _)) => Head::Yes,
            None if "function".starts_with(word) => Head::More,
            _ => Head::Not,
        },
        ("function", Some(("{", _))) => Head::Yes,
        (key, Some(("\"", name))) if NAMES.contains(&key) || key == "function" => offer.head(name, &['"']),
        (key, Some(("'", name))) if NAMES.contains(&key) || key == "function" => offer.head(name, &['\'']),
        (key, _) if ARGUMENTS.contains(&key) || IDS.contains(&key) => Head::Yes,
        _ => Head::Not,
    }
}

/// The calls that a text holds and that it holds nothing else.
pub(super) fn calls(
    text: &str,
    closed: bool,
    marked: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    rest = rest.strip_prefix('[').unwrap_or(rest);
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
        if !rest.starts_with('{') {
            break;
        }
        let (fields, end) = loose::object(rest);
        match end {
            Ok(end) => {
                calls.push(one(fields, rest.get(..end).unwrap_or_default(), marked, offer)?);
                rest = rest.get(end..).unwrap_or_default();
            }
            Err(fault) => {
                calls.push(broken(fields, rest, fault, closed, offer)?);
                return Ok(calls);
            }
        }
    }
    // Behind the calls: brackets too many, or words, but no further object.
    if calls.is_empty() || rest.contains('{') {
        return Err(Unread::Text);
    }
    Ok(calls)
}

/// `[TOOL_CALLS]` and what follows: a list, or `f{…}`, `f[ARGS]{…}`, `f[CALL_ID]x[ARGS]{…}`.
pub(super) fn mistral(text: &str, closed: bool, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    let inner = text.trim_start();
    if inner.starts_with(['[', '{']) {
        return calls(inner, closed, true, offer);
    }
    let (head, object) = match inner.find('{') {
        Some(at) => inner.split_at(at),
        None => (inner, ""),
    };
    let name = head.split('[').next().unwrap_or_default();
    let name = offer.name(name).ok_or(Unread::Text)?;
    let id = head.split_once("[CALL_ID]").and_then(|(_, rest)| rest.split('[').next()).unwrap_or_default();
    Ok(vec![WrittenCall { id: id.trim().to_owned(), ..from_object(name, object) }])
}

/// Whether a text begins a list of objects whose only key is an offered name (Apertus).
pub(super) fn named_head(text: &str, offer: &Offer) -> Head {
    let text = text.trim_start();
    let text = text.strip_prefix('[').unwrap_or(text).trim_start();
    match text.strip_prefix('{').map(str::trim_start) {
        Some("") => Head::More,
        Some(key) => key.strip_prefix('"').map_or(Head::Not, |name| offer.head(name, &['"'])),
        None if text.is_empty() => Head::More,
        None => Head::Not,
    }
}

/// The calls of such a list.
pub(super) fn named_calls(text: &str, closed: bool, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    rest = rest.strip_prefix('[').unwrap_or(rest);
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if !rest.starts_with('{') {
            break;
        }
        let (fields, end) = loose::object(rest);
        if end == Err(Fault::Cut) && closed && in_string(rest) {
            return Err(Unread::Open);
        }
        let cut = end.is_err();
        for (key, json) in fields {
            let name = offer.name(&key).ok_or(Unread::Text)?;
            let repaired = !rest.contains(&json);
            calls.push(WrittenCall { repaired, ..WrittenCall::new(name, json, cut) });
        }
        match end {
            Ok(end) => rest = rest.get(end..).unwrap_or_default(),
            Err(_) if calls.is_empty() => return Err(Unread::Text),
            Err(_) => return Ok(calls),
        }
    }
    if calls.is_empty() { Err(Unread::Text) } else { Ok(calls) }
}

/// `functions.f <|constrain|>json<|message|>{…}`: what follows `to=`.
pub(super) fn harmony(text: &str, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    const MESSAGE: &str = "<|message|>";
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(text.len());
    let name = text.get(..end).and_then(|name| offer.name(name)).ok_or(Unread::Text)?;
    // Without its special tokens a message begins with its brace.
    let at = text.find('{').unwrap_or(text.len());
    let (header, arguments) = text.split_once(MESSAGE).unwrap_or_else(|| text.split_at(at));
    if header.contains(['{', '[']) {
        return Err(Unread::Text);
    }
    Ok(vec![from_object(name, arguments)])
}

/// `f{a:<|"|>x<|"|>,b:1}`, with `quote` around each string.
pub(super) fn gemma(
    text: &str,
    quote: &str,
    closed: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    let at = text.find('{').unwrap_or(text.len());
    let (name, object) = text.split_at(at);
    let name = offer.name(name).ok_or(Unread::Text)?;
    let mut json = String::new();
    let mut pieces = 0;
    for (number, piece) in object.split(quote).enumerate() {
        pieces = number + 1;
        match number % 2 {
            0 => json.push_str(piece),
            _ => json.push_str(&serde_json::Value::from(piece).to_string()),
        }
    }
    if closed && pieces % 2 == 0 {
        return Err(Unread::Open);
    }
    let call = from_object(name, &json);
    // The form is no JSON: that it becomes some is no repair.
    Ok(vec![WrittenCall { cut: call.cut && !closed, repaired: false, ..call }])
}

/// A call whose arguments are the object that a text begins with.
fn from_object(name: &str, text: &str) -> WrittenCall {
    match loose::value(text) {
        Ok(value) => {
            let repaired = !text.contains(&value.json);
            WrittenCall { repaired, ..WrittenCall::new(name, value.json.trim().to_owned(), false) }
        }
        Err(_) => WrittenCall::new(name, text.trim().to_owned(), true),
    }
}

/// A call from the fields of its object, which is this text.
fn one(
    fields: Vec<(String, String)>,
    text: &str,
    marked: bool,
    offer: &Offer,
) -> Result<WrittenCall, Unread> {
    let parts = Parts::of(fields);
    let name = parts.name.as_deref().and_then(|name| offer.name(name)).ok_or(Unread::Text)?;
    let arguments = match parts.arguments {
        Some(json) => json,
        None if marked && !parts.has_more => String::new(),
        None => return Err(Unread::Text),
    };
    // Without a mark only what cannot be anything else counts.
    if !marked && (parts.has_more || !arguments.starts_with(['{', '"'])) {
        return Err(Unread::Text);
    }
    // What is JSON comes out as it went in.
    let repaired = !text.contains(&arguments);
    Ok(WrittenCall { id: parts.id, repaired, ..WrittenCall::new(name, arguments, false) })
}

/// A call whose object has a fault behind these fields. Its arguments are good if they are whole: then only what would
/// have closed the object is missing.
fn broken(
    fields: Vec<(String, String)>,
    text: &str,
    fault: Fault,
    closed: bool,
    offer: &Offer,
) -> Result<WrittenCall, Unread> {
    let parts = Parts::of(fields);
    let name = parts
        .name
        .as_deref()
        .and_then(|name| offer.name(name))
        .ok_or(if fault == Fault::Cut && closed { Unread::Open } else { Unread::Text })?;
    if closed && fault == Fault::Cut && in_string(text) {
        return Err(Unread::Open);
    }
    let arguments = match parts.arguments {
        Some(json) => json,
        None => {
            let key =
                ARGUMENTS.iter().filter_map(|key| Some((text.find(&format!("{key}\""))?, key.len()))).min();
            let (at, length) = key.ok_or(Unread::Text)?;
            let raw = text.get(at + length + 1..).unwrap_or_default();
            raw.trim_start().strip_prefix(':').unwrap_or(raw).trim().to_owned()
        }
    };
    let repaired = !text.contains(&arguments);
    Ok(WrittenCall { id: parts.id, repaired, ..WrittenCall::new(name, arguments, !closed) })
}

/// Whether a text that is cut off ends within a string: a mark there is part of the string.
fn in_string(text: &str) -> bool {
    let mut quote = None;
    let mut escaped = false;
    for byte in text.bytes() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            _ => {}
        }
    }
    quote.is_some()
}

#[derive(Default)]
struct Parts {
    id: String,
    name: Option<String>,
    arguments: Option<String>,
    /// There are fields that no call has.
    has_more: bool,
}

impl Parts {
    fn of(fields: Vec<(String, String)>) -> Self {
        let text = |json: &str| serde_json::from_str::<String>(json).ok();
        let mut parts = Self::default();
        for (key, json) in fields {
            match key.as_str() {
                "function" if json.starts_with('{') => {
                    let inner = Self::of(loose::object(&json).0);
                    parts.name = inner.name;
                    parts.arguments = inner.arguments;
                }
                "function" => parts.name = text(&json),
                "type" => {}
                key if NAMES.contains(&key) => parts.name = text(&json),
                key if ARGUMENTS.contains(&key) => parts.arguments = Some(json),
                key if IDS.contains(&key) => parts.id = text(&json).unwrap_or_default(),
                _ => parts.has_more = true,
            }
        }
        parts
    }
}
