//! Calls between special tokens: Kimi's and DeepSeek's forms, which differ in their tokens only.

use crate::arguments::loose;
use crate::text::calls::{Head, Offer, Unread, WrittenCall, tagged};
use crate::text::meet::{Meet, meet};

/// The tokens of a form.
#[derive(Debug)]
pub(super) struct Form {
    /// Before all calls.
    section: &'static str,
    /// Before a call.
    call: &'static str,
    /// Between what the call is and its arguments.
    separator: &'static str,
    /// After a call.
    end: &'static str,
}

/// `functions.f:0` before the separator, the arguments behind it.
pub(super) const KIMI: Form = Form {
    section: "<|tool_calls_section_begin|>",
    call: "<|tool_call_begin|>",
    separator: "<|tool_call_argument_begin|>",
    end: "<|tool_call_end|>",
};

/// `f` before the separator and the arguments behind it (V3.1), or `function` before it, and behind it `f` with the
/// arguments in a fence (V3, R1).
pub(super) const DEEPSEEK: Form = Form {
    section: "<｜tool▁calls▁begin｜>",
    call: "<｜tool▁call▁begin｜>",
    separator: "<｜tool▁sep｜>",
    end: "<｜tool▁call▁end｜>",
};

/// The same without the tokenizer's own blanks.
pub(super) const DEEPSEEK_ASCII: Form = Form {
    section: "<｜tool_calls_begin｜>",
    call: "<｜tool_call_begin｜>",
    separator: "<｜tool_sep｜>",
    end: "<｜tool_call_end｜>",
};

/// Whether the first call is one to an offered tool.
pub(super) fn head(text: &str, form: &Form, offer: &Offer) -> Head {
    let text = text.strip_prefix(form.section).unwrap_or(text).trim_start();
    let inner = match meet(text, form.call) {
        Meet::Whole => text.get(form.call.len()..).unwrap_or_default().trim_start(),
        Meet::Part => return Head::More,
        Meet::Not => return Head::Not,
    };
    let kind = format!("function{}", form.separator);
    match meet(inner, &kind) {
        Meet::Whole => {
            let named = inner.get(kind.len()..).unwrap_or_default();
            let name = named.trim_start();
            offer.head(name, &['\n', '\r', '`', '{', ' ']).or(|| tagged::head(name, &tagged::STEP, offer))
        }
        Meet::Part => Head::More,
        Meet::Not => offer.head(inner, &[':', '<', '\n', ' ']),
    }
}

/// The calls of a section.
pub(super) fn calls(text: &str, form: &Form, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    let mut calls = Vec::new();
    let mut pieces = text.split(form.call);
    // What stands before the first call is the section's token.
    pieces.next();
    for piece in pieces {
        let (piece, ended) = match piece.split_once(form.end) {
            Some((piece, _)) => (piece, true),
            None => (piece, false),
        };
        let (header, arguments) = piece.split_once(form.separator).unwrap_or((piece, ""));
        if arguments.trim_start().starts_with('<') {
            calls.extend(tagged::calls(arguments, &tagged::STEP, ended, offer)?);
            continue;
        }
        let (name, arguments) = if header.trim() == "function" {
            let named = arguments.trim_start();
            named.split_at(named.find(['\n', '`', '{']).unwrap_or(named.len()))
        } else {
            // `functions.f:0`: the number counts calls.
            let name = header.trim();
            let counted = name.rsplit_once(':').filter(|(_, n)| n.bytes().all(|byte| byte.is_ascii_digit()));
            (counted.map_or(name, |(name, _)| name), arguments)
        };
        let name = offer.name(name).ok_or(Unread::Text)?;
        let arguments = arguments.trim().to_owned();
        let whole = ended || loose::value(unfenced(&arguments)).is_ok();
        calls.push(WrittenCall::new(name, unfenced(&arguments).to_owned(), !whole));
    }
    if calls.is_empty() { Err(Unread::Text) } else { Ok(calls) }
}

/// The fence is part of the form, no fault of the arguments.
fn unfenced(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else { return text };
    let inner = inner.strip_prefix("json").unwrap_or(inner).trim();
    inner.strip_suffix("```").unwrap_or(inner).trim()
}
