//! Calls as keys and values: `f<arg_key>a</arg_key><arg_value>1</arg_value>`.
//!
//! What a value is is told by the tool's schema.

use crate::text::calls::tagged::{Fields, value_of};
use crate::text::calls::{Head, Offer, Unread, WrittenCall, json};
use crate::text::meet::{Meet, meet};

/// The tags around the names of parameters and their values.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Before a call within a section.
    call: &'static str,
    /// May stand behind the tool's name.
    separator: &'static str,
    key: &'static str,
    /// Between name and value, blanks apart.
    between: &'static [&'static str],
    /// An element that may stand there, too.
    aside: (&'static str, &'static str),
    /// Behind the value.
    end: &'static str,
    /// Behind all.
    close: &'static str,
}

/// `f<arg_key>a</arg_key><arg_value>1</arg_value>`; Hunyuan 3 has a separator behind the name.
pub(super) const GLM: Pairs = Pairs {
    call: "<tool_call>",
    aside: ("<arg_type>", "</arg_type>"),
    separator: "<tool_sep>",
    key: "<arg_key>",
    between: &["</arg_key>", "<arg_value>"],
    end: "</arg_value>",
    close: "</tool_call>",
};

/// The same with tags of its own (K2 Horizon).
pub(super) const IFM: Pairs = Pairs {
    call: "<ifm|tool_call>",
    separator: "",
    key: "<ifm|arg_key>",
    between: &["</ifm|arg_key>", "<ifm|arg_value>"],
    aside: ("<ifm|arg_type>", "</ifm|arg_type>"),
    end: "</ifm|arg_value>",
    close: "</ifm|tool_call>",
};

/// `f`, then `<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>`.
pub(super) const SOLAR: Pairs = Pairs {
    call: "<|tool_call:start|>",
    aside: ("<|tool_arg:type|>", "<|tool_arg:value|>"),
    separator: "",
    key: "<|tool_arg:start|>",
    between: &["<|tool_arg:value|>"],
    end: "<|tool_arg:end|>",
    close: "<|tool_call:end|>",
};

/// Whether a text begins with an offered name and such pairs.
pub(super) fn head(text: &str, pairs: &Pairs, offer: &Offer) -> Head {
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
pub(super) fn calls(
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
            let behind = behind.trim_start();
            let aside = behind.strip_prefix(pairs.aside.0).and_then(|rest| rest.split_once(pairs.aside.1));
            let behind = aside.map_or(behind, |(_, behind)| behind);
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

/// Whether a section begins with a call to an offered tool.
pub(super) fn section_head(text: &str, pairs: &Pairs, offer: &Offer) -> Head {
    let text = text.trim_start();
    match meet(text, pairs.call) {
        Meet::Whole => {
            let inner = text.get(pairs.call.len()..).unwrap_or_default();
            json::head(inner, true, offer).or(|| head(inner, pairs, offer))
        }
        Meet::Part => Head::More,
        Meet::Not => Head::Not,
    }
}

/// The calls of a section.
pub(super) fn section_calls(
    text: &str,
    pairs: &Pairs,
    closed: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    for piece in text.split(pairs.call).skip(1) {
        let (inner, closed) = match piece.rsplit_once(pairs.close) {
            Some((inner, _)) => (inner, true),
            None => (piece, closed),
        };
        calls.extend(calls_or_json(inner, pairs, closed, offer)?);
    }
    if calls.is_empty() { Err(Unread::Text) } else { Ok(calls) }
}

/// What a call's own element holds.
pub(super) fn calls_or_json(
    text: &str,
    pairs: &Pairs,
    closed: bool,
    offer: &Offer,
) -> Result<Vec<WrittenCall>, Unread> {
    match text.trim_start().starts_with(['{', '[']) {
        true => json::calls(text.trim_start(), closed, true, offer),
        false => calls(text, pairs, closed, offer),
    }
}
