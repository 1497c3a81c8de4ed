//! Calls as Python writes them: `[f(a=1, b='x'), g()]`, `f.call(a=1)`.

use crate::arguments::loose;
use crate::text::calls::tagged::Fields;
use crate::text::calls::{Head, Offer, Unread, WrittenCall};

/// Whether a text begins with a call of an offered tool.
pub(super) fn head(text: &str, offer: &Offer) -> Head {
    let text = text.trim_start();
    let text = text.strip_prefix('[').map_or(text, str::trim_start);
    match offer.head(text, &['(', '.']) {
        Head::More if text.is_empty() => Head::More,
        other => other,
    }
}

/// The calls of a list, or the one call.
pub(super) fn calls(text: &str, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    rest = rest.strip_prefix('[').unwrap_or(rest);
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
        let Some((name, inner)) = rest.split_once('(') else { break };
        let name = name.trim();
        let name = offer.name(name.strip_suffix(".call").unwrap_or(name)).ok_or(Unread::Text)?;
        let mut call = WrittenCall::new(name, String::new(), true);
        let mut fields = Fields::default();
        let mut inner = inner.trim_start();
        while !inner.starts_with(')') {
            let Some((key, value)) = inner.split_once('=') else { break };
            let key = key.trim();
            if key.is_empty() || loose::word_length(key) != key.len() {
                return Err(Unread::Text);
            }
            match loose::value(value) {
                Ok(read) => {
                    fields.add(key, &read.json);
                    inner = value.get(read.end..).unwrap_or_default().trim_start();
                    inner = inner.strip_prefix(',').unwrap_or(inner).trim_start();
                }
                Err(loose::Fault::Cut) => {
                    inner = "";
                    break;
                }
                Err(loose::Fault::Wrong) => return Err(Unread::Text),
            }
        }
        call.arguments = fields.json();
        match inner.strip_prefix(')') {
            Some(after) => {
                call.cut = false;
                calls.push(call);
                rest = after;
            }
            None if inner.is_empty() => {
                calls.push(call);
                return Ok(calls);
            }
            None => return Err(Unread::Text),
        }
    }
    let over = rest.trim_start_matches([']', ' ', '\n']);
    if calls.is_empty() || !over.is_empty() { Err(Unread::Text) } else { Ok(calls) }
}
