//! The check of an answer that was asked to be JSON (`response_format`): the text is JSON, or JSON with a wrapping that
//! can be taken off in one way only, or an error. A schema's own rules are looked at where there is a validator: in `loom-agent`.

use serde_json::Value;

use crate::error::LlmError;
use crate::event::{Completion, FinishReason};

/// The most text that is searched for JSON amid prose, and the most places where it is looked for: bounds on the work.
const MAX_SEARCHED: usize = 1 << 20;
const MAX_TRIES: usize = 1000;

/// The parameter that such an error is about: the endpoint has passed over it.
pub const PARAM: &str = "response_format";

/// Whether a `response_format` asks for JSON.
pub fn is_asked_for(response_format: &Value) -> bool {
    matches!(response_format.get("type").and_then(Value::as_str), Some("json_object" | "json_schema"))
}

/// The check of a whole answer: `None` if its text is JSON as it stands, or says nothing because it calls tools or
/// refuses; else the JSON that stands in it.
///
/// # Errors
/// `bad_response` if there is no JSON, or more than one piece that could be meant. An answer of nothing but blanks is
/// retryable: DeepSeek sends such now and then, and says so in its documentation.
pub fn check(answer: &Completion) -> Result<Option<String>, LlmError> {
    let text = answer.content.trim();
    if !answer.tool_calls.is_empty() || (text.is_empty() && answer.refusal.is_some()) || is_json(text) {
        return Ok(None);
    }
    let cut = match &answer.finish_reason {
        Some(FinishReason::Length) => Some("the token limit cut it off (finish_reason \"length\")"),
        Some(FinishReason::ContentFilter) => Some("the content filter cut it off"),
        _ => None,
    };
    let failed = |why: &str| {
        let mut error = LlmError::bad_response(format!("JSON was asked for, but {why}"));
        // What was cut, or is blank, does not show it.
        error.param = (cut.is_none() && !text.is_empty()).then(|| PARAM.to_owned());
        error
    };
    match (cut, text.is_empty()) {
        (Some(why), _) => Err(failed(&format!("{why}: {}", excerpt(text)))
            .with_hint("give the answer more room: raise max_tokens, or ask for less")),
        (None, true) => Err(failed("the answer says nothing").with_retryable(true)),
        (None, false) => match extract(text) {
            Found::One(json) => Ok(Some(json.to_owned())),
            Found::None => Err(failed(&format!("the answer is not JSON: {}", excerpt(text))).with_hint(
                "some servers ignore response_format: ask for nothing but JSON in the prompt as well",
            )),
            Found::Several(count) => {
                Err(failed(&format!("the answer holds {count} pieces of it: {}", excerpt(text)))
                    .with_hint("ask for one JSON object and nothing else in the prompt"))
            }
        },
    }
}

fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    None,
    One(&'a str),
    Several(usize),
}

/// Objects and lists count; a word or a number in quotes is prose as well.
fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok()
}

/// The JSON in a text that is not JSON itself: what stands in its fences, else amid its prose.
fn extract(text: &str) -> Found<'_> {
    match the_only(fenced(text)) {
        Found::None if text.len() <= MAX_SEARCHED => amid_prose(text),
        found => found,
    }
}

/// The piece that is meant: the only one, also if it is said more than once.
fn the_only<'a>(pieces: Vec<&'a str>) -> Found<'a> {
    match pieces.split_first() {
        None => Found::None,
        Some((first, others)) if others.iter().all(|other| other == first) => Found::One(first),
        Some(_) => Found::Several(pieces.len()),
    }
}

/// What stands between lines of three backquotes and is JSON.
fn fenced(text: &str) -> Vec<&str> {
    let mut pieces = text.split("```");
    pieces.next();
    let mut found = Vec::new();
    while let Some(inside) = pieces.next() {
        // The language, if there is one: `json`, `JSON`, `json5`, `javascript`.
        let body = inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim();
        if is_json(body) {
            found.push(body);
        }
        pieces.next();
    }
    found
}

/// The values that stand in prose. One object is what is meant, whatever lists (`[1]`, a citation) stand beside it; an
/// empty one says nothing.
fn amid_prose(text: &str) -> Found<'_> {
    let (mut objects, mut lists) = (Vec::new(), Vec::new());
    let mut at = 0;
    for _ in 0..MAX_TRIES {
        let Some(rest) = text.get(at..) else { break };
        let Some(start) = rest.find(['{', '[']) else { break };
        let from = at + start;
        let tail = text.get(from..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(tail).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let piece = tail.get(..values.byte_offset()).unwrap_or_default();
                match value {
                    Value::Object(fields) if !fields.is_empty() => objects.push(piece),
                    Value::Array(items) if !items.is_empty() => lists.push(piece),
                    _ => {}
                }
                at = from + piece.len().max(1);
            }
            _ => at = from + 1,
        }
    }
    if objects.is_empty() { the_only(lists) } else { the_only(objects) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content: &str) -> Completion {
        Completion { content: content.to_owned(), ..Completion::default() }
    }

    #[test]
    fn json_as_it_stands_stays_as_it_stands() {
        for text in ["{\"a\":1}", " [1, 2]\n", "{}"] {
            assert_eq!(check(&answer(text)).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn what_is_around_it_comes_off_if_there_is_one_reading() {
        for (text, json) in [
            ("```json\n{\"a\": 1}\n```", "{\"a\": 1}"),
            ("```\n[1]\n```", "[1]"),
            ("```json{\"a\":1}```", "{\"a\":1}"),
            ("Sure, here you are:\n```JSON\n{\"a\":1}\n```\nAnything else?", "{\"a\":1}"),
            ("Sure: {\"a\": {\"b\": [1]}} Anything else?", "{\"a\": {\"b\": [1]}}"),
            ("As [1] says: {\"a\":1}", "{\"a\":1}"),
            ("The set {x} is {\"a\":1}.", "{\"a\":1}"),
            ("{\"a\":1}\n\n{\"a\":1}", "{\"a\":1}"),
            ("\u{feff}{\"a\":1}", "{\"a\":1}"),
            ("Here: [{\"a\":1},{\"a\":2}]", "[{\"a\":1},{\"a\":2}]"),
            ("```json\n{\"a\":\"}{\"}", "{\"a\":\"}{\"}"),
        ] {
            assert_eq!(check(&answer(text)).unwrap().as_deref(), Some(json), "{text}");
        }
    }

    #[test]
    fn what_has_no_reading_or_several_is_an_error() {
        for (text, why) in [
            ("Sure! Here you are.", "not JSON"),
            ("42", "not JSON"),
            ("null", "not JSON"),
            ("\"{\"", "not JSON"),
            ("{'a': 1}", "not JSON"),
            ("I cannot: {}", "not JSON"),
            ("{\"a\":", "not JSON"),
            ("{\"a\":1} or {\"a\":2}", "2 pieces"),
            ("```json\n{\"a\":1}\n```\nor\n```json\n{\"a\":2}\n```", "2 pieces"),
        ] {
            let error = check(&answer(text)).unwrap_err();
            assert!(error.message.contains(why) && !error.retryable, "{text}: {error}");
        }
        let blank = check(&answer(" \n")).unwrap_err();
        assert!(blank.retryable && blank.message.contains("says nothing"));
        let mut cut = answer("{\"a\": \"lon");
        cut.finish_reason = Some(FinishReason::Length);
        assert!(check(&cut).unwrap_err().message.contains("token limit"));
    }

    #[test]
    fn hostile_text_costs_little() {
        let started = std::time::Instant::now();
        for piece in ["[", "{", "{\"a\":", "[0,", "[[0],", "```", "[\"", "{}"] {
            let _ = check(&answer(&piece.repeat((1 << 20) / piece.len())));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
    }
}
