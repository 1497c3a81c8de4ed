//! Tool call arguments: what models and servers write, brought to one JSON object.
//!
//! Repaired is what has one reading; `loose` says what that is. A text that ends too early is never completed: the call
//! may have been cut off, and must not run.

pub(crate) mod loose;

use serde_json::Value;

use crate::ledger::Rule;
use loose::Fault;

/// The arguments as the text of a JSON object, with the rule that was needed, or why they are none.
pub(crate) fn normalise(text: &str) -> Result<(String, Option<Rule>), String> {
    let trimmed = text.trim().trim_start_matches('\u{feff}');
    if trimmed.is_empty() || trimmed == "null" {
        return Ok(("{}".to_owned(), Some(Rule::ArgumentsEmpty)));
    }
    match serde_json::from_str::<Value>(trimmed) {
        Ok(Value::Object(_)) => Ok((trimmed.to_owned(), None)),
        Ok(Value::String(inner)) => unwrapped(&inner),
        Ok(other) => Err(format!("the arguments are {}, not an object", name_of(&other))),
        Err(error) => repaired(trimmed).map(|text| (text, Some(Rule::ArgumentsRepaired))).map_err(|fault| {
            if fault == Fault::Cut || error.is_eof() {
                "the arguments are cut off: the JSON does not end".to_owned()
            } else {
                format!("the arguments are not JSON: {error}")
            }
        }),
    }
}

/// An object that was encoded twice, or the text of one in need of repair.
fn unwrapped(inner: &str) -> Result<(String, Option<Rule>), String> {
    let inner = inner.trim();
    match serde_json::from_str::<Value>(inner) {
        Ok(Value::Object(_)) => Ok((inner.to_owned(), Some(Rule::ArgumentsDoubleEncoded))),
        // Encoded once more still.
        Ok(Value::String(third))
            if serde_json::from_str::<serde_json::Map<String, Value>>(&third).is_ok() =>
        {
            Ok((third.trim().to_owned(), Some(Rule::ArgumentsDoubleEncoded)))
        }
        Err(_) if inner.starts_with(['{', '`']) => repaired(inner)
            .map(|text| (text, Some(Rule::ArgumentsRepaired)))
            .map_err(|_| "the arguments are a JSON string that holds no JSON object".to_owned()),
        _ => Err("the arguments are a JSON string, not an object".to_owned()),
    }
}

/// An object in a fence, in loose JSON, or with something behind it that cannot be more of it.
fn repaired(text: &str) -> Result<String, Fault> {
    let (text, fenced) = match text.strip_prefix("```") {
        Some(rest) => {
            let info = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            (rest.get(info..).unwrap_or_default().trim(), true)
        }
        None => (text, false),
    };
    if !text.starts_with('{') {
        return Err(if fenced && text.is_empty() { Fault::Cut } else { Fault::Wrong });
    }
    let object = loose::value(text)?;
    let mut rest = text.get(object.end..).unwrap_or_default().trim();
    // The same object once more is still one object (servers that repeat whole arguments in each piece).
    while let Ok(again) = loose::value(rest)
        && again.json == object.json
    {
        rest = rest.get(again.end..).unwrap_or_default().trim();
    }
    if rest.contains(['{', '[']) && !rest.starts_with("[/") {
        return Err(Fault::Wrong);
    }
    // What this reader takes, every other must take too.
    match serde_json::from_str::<Value>(&object.json) {
        Ok(Value::Object(_)) => Ok(object.json),
        _ => Err(Fault::Wrong),
    }
}

/// Whether `text` is a complete JSON value already, so that more of it would belong to another call.
pub(crate) fn is_complete(text: &str) -> bool {
    let trimmed = text.trim();
    !trimmed.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok()
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_or_an_error() {
        let object = |text| normalise(text).unwrap().0;
        assert_eq!(object(" {\"a\": 1} "), "{\"a\": 1}");
        for nothing in ["", "  ", "null"] {
            assert_eq!(object(nothing), "{}");
        }
        assert_eq!(object(r#""{\"a\":1}""#), r#"{"a":1}"#);
        for (wrong, why) in [
            ("{\"a\":", "cut off"),
            ("{'a':", "cut off"),
            ("```json\n{\"a\": 1", "cut off"),
            ("[1]", "an array"),
            ("3", "a number"),
            ("\"x\"", "a JSON string"),
            ("\"{'a': 'it's'}\"", "a JSON string"),
            ("{'a':'it's'}", "not JSON"),
            ("{\"a\":1}{\"a\":2}", "not JSON"),
            ("{\"a\":1}, {\"b\":2}", "not JSON"),
            ("a=1", "not JSON"),
            ("I call it with {\"a\": 1}", "not JSON"),
        ] {
            let reason = normalise(wrong).unwrap_err();
            assert!(reason.contains(why), "{wrong}: {reason}");
        }
    }

    #[test]
    fn repairs_are_named() {
        for (text, json) in [
            ("```json\n{\"a\": 1}\n```", "{\"a\": 1}"),
            ("```\n{\"a\": 1,}\n```\nThat is it.", "{\"a\": 1}"),
            ("{\"a\": 1}}", "{\"a\": 1}"),
            ("{\"a\": 1}</tool_call>", "{\"a\": 1}"),
            ("{\"a\": 1}{\"a\": 1}", "{\"a\": 1}"),
            ("{'a': 'x\ny', b: True}", "{\"a\": \"x\\ny\", \"b\": true}"),
            (r#""{'a': 1}""#, "{\"a\": 1}"),
        ] {
            assert_eq!(normalise(text), Ok((json.to_owned(), Some(Rule::ArgumentsRepaired))), "{text}");
        }
    }
}
