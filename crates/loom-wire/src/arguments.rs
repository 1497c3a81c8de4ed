//! Tool call arguments: what models and servers write, brought to one JSON object.

use serde_json::Value;

use crate::ledger::Rule;

/// The arguments as the text of a JSON object, with the rule that was needed, or why they are none.
///
/// Repairs only where there is one reading: nothing at all is `{}`, an object inside a string is that object.
pub(crate) fn normalise(text: &str) -> Result<(String, Option<Rule>), String> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed == "null" {
        return Ok(("{}".to_owned(), Some(Rule::ArgumentsEmpty)));
    }
    match serde_json::from_str::<Value>(trimmed) {
        Ok(Value::Object(_)) => Ok((trimmed.to_owned(), None)),
        Ok(Value::String(inner)) => match serde_json::from_str::<Value>(&inner) {
            Ok(Value::Object(_)) => Ok((inner.trim().to_owned(), Some(Rule::ArgumentsDoubleEncoded))),
            _ => Err("the arguments are a JSON string, not an object".to_owned()),
        },
        Ok(other) => Err(format!("the arguments are {}, not an object", name_of(&other))),
        Err(error) if error.is_eof() => Err("the arguments are cut off: the JSON does not end".to_owned()),
        Err(error) => Err(format!("the arguments are not JSON: {error}")),
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
            ("[1]", "an array"),
            ("3", "a number"),
            ("\"x\"", "a JSON string"),
            ("{'a':1}", "not JSON"),
        ] {
            let reason = normalise(wrong).unwrap_err();
            assert!(reason.contains(why), "{wrong}: {reason}");
        }
    }
}
