//! Calls as elements: `<function=f><parameter=a>…`, `<invoke name="f"><parameter name="a">…`.
//!
//! Values stand there without quotes; what they are is told by the tool's schema.

use crate::arguments::loose;
use crate::text::calls::{Head, Offer, Unread, WrittenCall};
use crate::text::meet::{Meet, meet};

/// How a dialect spells its tags.
#[derive(Debug)]
pub(super) struct Syntax {
    /// Before the name of an opening tag.
    pub(super) open: &'static str,
    /// Before the name of a closing tag.
    close: &'static str,
    /// Behind a tag.
    end: &'static str,
}

const fn syntax(open: &'static str, close: &'static str) -> Syntax {
    Syntax { open, close, end: ">" }
}

pub(super) const PLAIN: Syntax = syntax("<", "</");
/// DeepSeek from V3.2.
pub(super) const DSML: Syntax = syntax("<｜DSML｜", "</｜DSML｜");
pub(super) const DSML_APART: Syntax = syntax("<｜DSML｜ ", "</｜DSML｜ ");
/// GigaChat 3.5.
pub(super) const GCML: Syntax = syntax("<｜GCML｜", "</｜GCML｜");
/// Muse.
pub(super) const ATEM: Syntax = syntax("<atem:", "</atem:");
/// Step 3.
pub(super) const STEP: Syntax = syntax("<steptml:", "</steptml:");
/// MiniMax M3, whose tags follow a token.
pub(super) const MINIMAX: Syntax = syntax("]<]minimax[>[<", "]<]minimax[>[</");
/// Kimi K3.
pub(super) const XTML: Syntax = Syntax { open: "<|open|>", close: "<|close|>", end: "<|sep|>" };

/// The tags that hold a call, and how its name follows.
const OPENINGS: [&str; 4] = ["function=", "invoke name=", "function name=", "call tool="];
/// The same tags when they close.
const CLOSINGS: [&str; 3] = ["function", "invoke", "call"];
/// The tags that hold a parameter. A tag of another name is that parameter itself.
const PARAMETERS: [&str; 3] = ["parameter", "param", "argument"];

/// Whether a text begins with the tag of a call to an offered tool.
pub(super) fn head(text: &str, syntax: &Syntax, offer: &Offer) -> Head {
    let text = text.trim_start();
    let mut verdict = if text.is_empty() { Head::More } else { Head::Not };
    for opening in OPENINGS {
        let tag = format!("{}{opening}", syntax.open);
        verdict = match meet(text, &tag) {
            Meet::Whole => {
                let name = text.get(tag.len()..).unwrap_or_default();
                let name = name.strip_prefix(['"', '\'']).unwrap_or(name);
                return offer.head(name, &['>', '"', '\'', ' ']);
            }
            Meet::Part => Head::More,
            Meet::Not => verdict,
        };
    }
    verdict
}

/// The calls that a text of such tags holds.
pub(super) fn calls(
    text: &str,
    syntax: &Syntax,
    closed: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, inner)) = opening(rest, syntax) {
        let name = offer.name(name).ok_or(Unread::Text)?;
        let (call, after) = one(name, inner, syntax, closed, offer);
        calls.push(call);
        rest = after.trim_start();
    }
    if calls.is_empty() { Err(Unread::Text) } else { Ok(calls) }
}

/// The name in a call's tag, and what follows the tag.
fn opening<'t>(text: &'t str, syntax: &Syntax) -> Option<(&'t str, &'t str)> {
    let inner = text.strip_prefix(syntax.open)?;
    let named = OPENINGS.iter().find_map(|opening| inner.strip_prefix(opening))?;
    let (name, rest) = named.split_once(syntax.end)?;
    let quoted = name.strip_prefix('"').and_then(|name| name.split('"').next());
    Some((quoted.unwrap_or(name).trim(), rest))
}

fn one<'t>(
    name: &str,
    inner: &'t str,
    syntax: &Syntax,
    closed: bool,
    offer: &Offer,
) -> (WrittenCall, &'t str) {
    let ends = CLOSINGS.map(|closing| format!("{}{closing}{}", syntax.close, syntax.end));
    let written = |arguments, cut| WrittenCall::new(name, arguments, cut);
    // Llama's custom form holds JSON.
    if inner.trim_start().starts_with('{') {
        let end = ends.iter().filter_map(|end| inner.find(end.as_str())).min();
        let (json, after) = inner.split_at(end.unwrap_or(inner.len()));
        return (written(json.trim().to_owned(), end.is_none() && !closed), strip_tag(after));
    }
    let mut fields = Fields::default();
    let mut rest = inner.trim_start();
    let followers = [syntax.open, ends[0].as_str(), ends[1].as_str(), ends[2].as_str()];
    while let Some(tag) = rest.strip_prefix(syntax.open).filter(|tag| is_element(tag)) {
        let element = tag.split_once(syntax.end).and_then(|(tag, behind)| {
            let word = PARAMETERS.iter().find_map(|word| {
                let attributes = tag.strip_prefix(word)?;
                attributes.starts_with(['=', ' ']).then_some((*word, key_of(attributes)))
            });
            let (word, (key, is_text)) = word.unwrap_or((tag, (tag, None)));
            let close = format!("{}{word}{}", syntax.close, syntax.end);
            let (value, after) = value_of(behind, &close, &followers)?;
            Some((key, is_text, value, after))
        });
        let Some((key, is_text, value, after)) = element else {
            return (written(fields.json(), true), "");
        };
        let json = match is_text {
            Some(true) => serde_json::Value::from(value).to_string(),
            None if let Some(verbatim) = verbatim(value) => offer.typed(name, key, verbatim),
            None if let Some(nested) = nested(value, syntax, 0) => nested,
            Some(false) | None => offer.typed(name, key, value),
        };
        fields.add(key, &json);
        rest = after.trim_start();
    }
    let end = ends.iter().find_map(|end| rest.strip_prefix(end.as_str()));
    // The last closing tags are often the ones that ended the generation.
    (written(fields.json(), end.is_none() && !closed), end.unwrap_or(rest))
}

/// Whether what follows a tag's beginning is the name of a parameter's tag.
fn is_element(tag: &str) -> bool {
    tag.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && !OPENINGS.iter().any(|opening| tag.starts_with(opening))
}

/// MiniMax M3 writes objects and lists as elements, too: those of a list are all called `item`.
fn nested(value: &str, syntax: &Syntax, depth: u32) -> Option<String> {
    if syntax.open != MINIMAX.open || depth > 32 {
        return None;
    }
    let mut rest = value.trim();
    let (mut fields, mut items) = (Fields::default(), Vec::new());
    let mut list = true;
    while !rest.is_empty() {
        let (key, behind) = rest.strip_prefix(syntax.open)?.split_once(syntax.end)?;
        let close = format!("{}{key}{}", syntax.close, syntax.end);
        let (value, after) = element(behind, &format!("{}{key}{}", syntax.open, syntax.end), &close)?;
        let json = nested(value, syntax, depth + 1).unwrap_or_else(|| leaf(value));
        fields.add(key, &json);
        items.push(json);
        list &= key == "item";
        rest = after.trim_start();
    }
    match (items.is_empty(), list) {
        (true, _) => None,
        (_, true) => Some(format!("[{}]", items.join(", "))),
        (_, false) => Some(fields.json()),
    }
}

/// What an element holds, which may hold elements of its own name, and what follows it.
fn element<'t>(text: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    let (mut at, mut depth) = (0, 1u32);
    loop {
        let rest = text.get(at..)?;
        let end = rest.find(close)?;
        match rest.find(open).filter(|start| *start < end) {
            Some(start) => (depth, at) = (depth + 1, at + start + open.len()),
            None if depth > 1 => (depth, at) = (depth - 1, at + end + close.len()),
            None => return Some((text.get(..at + end)?, text.get(at + end + close.len()..)?)),
        }
    }
}

/// A value whose type no schema tells: what it reads as.
fn leaf(text: &str) -> String {
    match loose::value(text.trim()) {
        Ok(value) if value.end == text.trim().len() => value.json,
        _ => serde_json::Value::from(text).to_string(),
    }
}

fn strip_tag(text: &str) -> &str {
    text.split_once('>').map_or("", |(_, rest)| rest)
}

/// `=a`, ` name="a" string="false"`, ` key="a" type="string"`: the parameter's name, and whether it says that its value
/// is a text.
fn key_of(attributes: &str) -> (&str, Option<bool>) {
    if let Some(key) = attributes.strip_prefix('=') {
        return (key.trim().trim_matches(['"', '\'']), None);
    }
    let attribute = |name: &str| {
        let (_, rest) = attributes.split_once(name)?;
        let rest = rest.strip_prefix(['"', '\''])?;
        rest.split(['"', '\'']).next()
    };
    let is_text = match (attribute("string="), attribute("type=")) {
        (Some("true"), _) | (_, Some("string")) => Some(true),
        (Some("false"), _) => Some(false),
        _ => None,
    };
    (attribute("name=").or_else(|| attribute("key=")).unwrap_or_default(), is_text)
}

/// A value up to the closing tag behind which the call goes on or ends: a value may hold such tags itself. The line
/// ends that the template puts around it are left out.
pub(super) fn value_of<'t>(text: &'t str, close: &str, followers: &[&str]) -> Option<(&'t str, &'t str)> {
    let mut from = 0;
    let mut last = None;
    while let Some(at) = text.get(from..)?.find(close) {
        let at = from + at;
        let after = text.get(at + close.len()..)?;
        last = Some((at, after));
        let next = after.trim_start();
        if next.is_empty() || followers.iter().any(|follower| next.starts_with(follower)) {
            break;
        }
        from = at + close.len();
    }
    let (at, after) = last?;
    let value = text.get(..at)?;
    let value = value.strip_prefix("\r\n").or_else(|| value.strip_prefix('\n')).unwrap_or(value);
    let value = value.strip_suffix("\r\n").or_else(|| value.strip_suffix('\n')).unwrap_or(value);
    Some((value, after))
}

/// What XML's mark for verbatim text holds.
fn verbatim(value: &str) -> Option<&str> {
    value.trim().strip_prefix("<![CDATA[")?.strip_suffix("]]>")
}

/// An object under way.
#[derive(Default)]
pub(super) struct Fields(String);

impl Fields {
    pub(super) fn add(&mut self, key: &str, json: &str) {
        self.0.push_str(if self.0.is_empty() { "" } else { ", " });
        self.0.push_str(&serde_json::Value::from(key).to_string());
        self.0.push_str(": ");
        self.0.push_str(json);
    }

    pub(super) fn json(&self) -> String {
        format!("{{{}}}", self.0)
    }
}
