//! Calls as tags: `<function=f><parameter=a>…`, `<invoke name="f"><parameter name="a">…`, and keys and values (GLM).
//!
//! Values stand there without quotes; what they are is told by the tool's schema.

use crate::text::calls::{Head, Offer, Unread, WrittenCall, json};
use crate::text::meet::{Meet, meet};

/// The tags that hold a call, and how its name follows.
const OPENINGS: [&str; 3] = ["function=", "invoke name=", "function name="];

/// Whether a text begins with the tag of a call to an offered tool. `prefix` stands before each tag's name.
pub(super) fn head(text: &str, prefix: &str, offer: &Offer) -> Head {
    let text = text.trim_start();
    let mut verdict = if text.is_empty() { Head::More } else { Head::Not };
    for opening in OPENINGS {
        let tag = format!("<{prefix}{opening}");
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
    prefix: &str,
    closed: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, inner)) = opening(rest, prefix) {
        let name = offer.name(name).ok_or(Unread::Text)?;
        let (call, after) = one(name, inner, prefix, closed, offer);
        calls.push(call);
        rest = after.trim_start();
    }
    if calls.is_empty() { Err(Unread::Text) } else { Ok(calls) }
}

/// The name in a call's tag, and what follows the tag.
fn opening<'t>(text: &'t str, prefix: &str) -> Option<(&'t str, &'t str)> {
    let inner = text.strip_prefix('<')?.strip_prefix(prefix)?;
    let named = OPENINGS.iter().find_map(|opening| inner.strip_prefix(opening))?;
    let (name, rest) = named.split_once('>')?;
    Some((name.trim(), rest))
}

fn one<'t>(name: &str, inner: &'t str, prefix: &str, closed: bool, offer: &Offer) -> (WrittenCall, &'t str) {
    let ends = [format!("</{prefix}function>"), format!("</{prefix}invoke>")];
    let written = |arguments, cut| WrittenCall::new(name, arguments, cut);
    // Llama's custom form holds JSON.
    if inner.trim_start().starts_with('{') {
        let end = ends.iter().filter_map(|end| inner.find(end.as_str())).min();
        let (json, after) = inner.split_at(end.unwrap_or(inner.len()));
        return (written(json.trim().to_owned(), end.is_none() && !closed), strip_tag(after));
    }
    let mut fields = Fields::default();
    let mut rest = inner.trim_start();
    // MiniCPM's is shorter.
    let word = if rest.starts_with("<param ") { "param" } else { "parameter" };
    let open = format!("<{prefix}{word}");
    let close = format!("</{prefix}{word}>");
    while let Some(tag) = rest.strip_prefix(open.as_str()) {
        let Some((attributes, behind)) = tag.split_once('>') else {
            return (written(fields.json(), true), "");
        };
        let (key, is_text) = key_of(attributes);
        let Some((value, after)) = value_of(behind, &close, &[&open, ends[0].as_str(), ends[1].as_str()])
        else {
            return (written(fields.json(), true), "");
        };
        let json = match is_text {
            Some(true) => serde_json::Value::from(value).to_string(),
            None if let Some(verbatim) = verbatim(value) => offer.typed(name, key, verbatim),
            Some(false) | None => offer.typed(name, key, value),
        };
        fields.add(key, &json);
        rest = after.trim_start();
    }
    let end = ends.iter().find_map(|end| rest.strip_prefix(end.as_str()));
    // The last closing tags are often the ones that ended the generation.
    (written(fields.json(), end.is_none() && !closed), end.unwrap_or(rest))
}

fn strip_tag(text: &str) -> &str {
    text.split_once('>').map_or("", |(_, rest)| rest)
}

/// `=a` or ` name="a" string="false"`: the parameter's name, and whether it says that its value is a text.
fn key_of(attributes: &str) -> (&str, Option<bool>) {
    if let Some(key) = attributes.strip_prefix('=') {
        return (key.trim().trim_matches(['"', '\'']), None);
    }
    let attribute = |name: &str| {
        let (_, rest) = attributes.split_once(name)?;
        let rest = rest.strip_prefix(['"', '\''])?;
        rest.split(['"', '\'']).next()
    };
    let is_text = match attribute("string=") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    (attribute("name=").unwrap_or_default(), is_text)
}

/// A value up to the closing tag behind which the call goes on or ends: a value may hold such tags itself. The line
/// ends that the template puts around it are left out.
fn value_of<'t>(text: &'t str, close: &str, followers: &[&str]) -> Option<(&'t str, &'t str)> {
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

/// The tags around the names of parameters and their values.
#[derive(Debug)]
pub(super) struct Pairs {
    /// May stand behind the tool's name.
    separator: &'static str,
    key: &'static str,
    /// Between name and value, blanks apart.
    between: &'static [&'static str],
    /// Behind the value.
    end: &'static str,
    /// Behind all.
    close: &'static str,
}

/// `f<arg_key>a</arg_key><arg_value>1</arg_value>`; Hunyuan 3 has a separator behind the name.
pub(super) const GLM: Pairs = Pairs {
    separator: "<tool_sep>",
    key: "<arg_key>",
    between: &["</arg_key>", "<arg_value>"],
    end: "</arg_value>",
    close: "</tool_call>",
};

/// `f`, then `<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>`.
pub(super) const SOLAR: Pairs = Pairs {
    separator: "",
    key: "<|tool_arg:start|>",
    between: &["<|tool_arg:value|>"],
    end: "<|tool_arg:end|>",
    close: "<|tool_call:end|>",
};

/// Whether a text begins with an offered name and such pairs.
pub(super) fn pairs_head(text: &str, pairs: &Pairs, offer: &Offer) -> Head {
    let text = text.trim_start();
    match offer.head(text, &['\n', '\r', '<', ' ']) {
        // A name is a word that texts use, too: what follows it must be the form's.
        Head::Yes => {
            let rest = text.trim_start_matches(|c: char| !c.is_whitespace() && c != '<').trim_start();
            let follows = [pairs.separator, pairs.key, pairs.close];
            let follows = || follows.iter().filter(|tag| !tag.is_empty()).map(|tag| meet(rest, tag));
            if follows().any(|meet| meet == Meet::Whole) {
                Head::Yes
            } else if rest.is_empty() || follows().any(|meet| meet == Meet::Part) {
                Head::More
            } else {
                Head::Not
            }
        }
        other => other,
    }
}

/// The call that such pairs are.
pub(super) fn pairs_calls(
    text: &str,
    pairs: &Pairs,
    closed: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    let text = text.trim_start();
    let end = text.find('<').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let name = offer.name(name).ok_or(Unread::Text)?;
    let mut fields = Fields::default();
    let mut cut = !closed;
    rest = rest.strip_prefix(pairs.separator).unwrap_or(rest);
    loop {
        rest = rest.trim_start();
        let Some(keyed) = rest.strip_prefix(pairs.key) else { break };
        let (first, more) = pairs.between.split_first().unwrap_or((&"", &[]));
        let pair = keyed.split_once(first).and_then(|(key, behind)| {
            let valued = more.iter().try_fold(behind, |rest, tag| rest.trim_start().strip_prefix(tag))?;
            let (value, after) = value_of(valued, pairs.end, &[pairs.key])?;
            Some((key.trim(), value, after))
        });
        let Some((key, value, after)) = pair else {
            cut = true;
            break;
        };
        fields.add(key, &offer.typed(name, key, value));
        rest = after;
    }
    Ok(vec![WrittenCall::new(name, fields.json(), cut)])
}

/// The element of a section.
const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");

/// Whether a section begins with a call to an offered tool.
pub(super) fn section_head(text: &str, offer: &Offer) -> Head {
    let text = text.trim_start();
    match meet(text, CALL.0) {
        Meet::Whole => {
            let inner = text.get(CALL.0.len()..).unwrap_or_default();
            json::head(inner, true, offer).or(|| pairs_head(inner, &GLM, offer))
        }
        Meet::Part => Head::More,
        Meet::Not => Head::Not,
    }
}

/// The calls of a section.
pub(super) fn section_calls(text: &str, closed: bool, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    for piece in text.split(CALL.0).skip(1) {
        let (inner, closed) = match piece.rsplit_once(CALL.1) {
            Some((inner, _)) => (inner.trim_start(), true),
            None => (piece.trim_start(), closed),
        };
        calls.extend(match inner.starts_with(['{', '[']) {
            true => json::calls(inner, closed, true, offer)?,
            false => pairs_calls(inner, &GLM, closed, offer)?,
        });
    }
    if calls.is_empty() { Err(Unread::Text) } else { Ok(calls) }
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
