//! How long a server asks to wait, as far as it stands in a body: in fields, or in the sentence.
//!
//! The forms are those of case 122 of the wire notes: `7.66s`, `2m59.56s`, `retryDelay: "34s"`, "Please retry after 7 seconds."

use std::time::Duration;

use serde_json::Value;

/// Units as servers write them, and their seconds.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("milliseconds", 1e-3),
    ("s", 1.0),
    ("sec", 1.0),
    ("secs", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("秒", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("mins", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("分钟", 60.0),
    ("h", 3600.0),
    ("hour", 3600.0),
    ("hours", 3600.0),
    ("小时", 3600.0),
    ("d", 86400.0),
    ("day", 86400.0),
    ("days", 86400.0),
];

/// What stands before a waiting time in a sentence, in lower case.
const LEADS: &[&str] = &[
    // Azure.
    "retry after ",
    // Groq, OpenAI.
    "try again in ",
    // Gemini.
    "retry in ",
    "try again after ",
    "wait for ",
    "please wait ",
    "reset after ",
    "resets in ",
    // Gateways in China.
    "请在 ",
    "请在",
    "请等待 ",
];

/// Fields that hold seconds or a text with a unit: OpenRouter, Gemini, Hugging Face (how long the model still loads).
const FIELDS: &[&str] = &["retry_after", "retryAfter", "retry_after_seconds", "retryDelay", "estimated_time"];

/// A length of time as `7.66s`, `2m59.56s`, `12ms` or `7 seconds`; a number alone counts as seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => match leading(text)? {
            (wait, "") => Some(wait),
            _ => None,
        },
    }
}

/// The numbers with units that a text begins with, and what follows them.
fn leading(text: &str) -> Option<(Duration, &str)> {
    let (mut seconds, mut rest, mut found) = (0.0, text, false);
    loop {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = rest.get(..rest.len() - after.len()).unwrap_or_default();
        // "in 3s." ends a sentence, not a number.
        let Ok(number) = number.parse::<f64>() else { break };
        let after = after.trim_start_matches(' ');
        let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let word = after.get(..unit_end).unwrap_or_default();
        // Chinese has no blanks: the unit is where the word begins.
        let unit =
            UNITS.iter().filter(|(unit, _)| word == *unit || (!unit.is_ascii() && word.starts_with(unit)));
        let Some((unit, factor)) = unit.max_by_key(|(unit, _)| unit.len()) else { break };
        (seconds, found) = (seconds + number * factor, true);
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    if found { Some((Duration::try_from_secs_f64(seconds).ok()?, rest)) } else { None }
}

/// The waiting time that a sentence names.
pub(crate) fn in_text(message: &str) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    LEADS.iter().find_map(|lead| {
        let (_, after) = lower.split_once(lead)?;
        leading(after).map(|(wait, _)| wait)
    })
}

/// The waiting time that an error's fields name.
pub(crate) fn in_fields(error: &Value) -> Option<Duration> {
    let here = |value: &Value| {
        FIELDS.iter().find_map(|field| match value.get(field)? {
            Value::Number(seconds) => Duration::try_from_secs_f64(seconds.as_f64()?).ok(),
            Value::String(text) => duration(text),
            _ => None,
        })
    };
    // Google lists its RetryInfo among the details; OpenRouter keeps it in the metadata.
    let details = || error.get("details")?.as_array()?.iter().find_map(here);
    here(error).or_else(details).or_else(|| here(error.get("metadata")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let seconds = |text| duration(text).map(|wait| wait.as_secs_f64());
        for (text, expected) in [
            ("7.66s", 7.66),
            ("2m59.56s", 179.56),
            ("6m0s", 360.0),
            ("12ms", 0.012),
            ("1h2m3s", 3723.0),
            ("34", 34.0),
            (" 7 seconds ", 7.0),
            ("1d", 86400.0),
            ("59.953424872s", 59.953424872),
        ] {
            assert!((seconds(text).unwrap() - expected).abs() < 1e-9, "{text}");
        }
        for garbage in ["later", "", "s", "-3s", "NaN", "1e400", "7 parsecs", "3s?", "2026-11-22", "1.2.3s"] {
            assert_eq!(seconds(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn sentences() {
        let seconds = |text| in_text(text).map(|wait| wait.as_secs_f64());
        assert_eq!(seconds("… pricing tier. Please retry after 7 seconds."), Some(7.0));
        assert_eq!(seconds("Please try again in 7.66s. Visit …"), Some(7.66));
        assert_eq!(seconds("Please try again in 1m30s."), Some(90.0));
        assert_eq!(seconds("请求过快，请在 20 秒后重试"), Some(20.0));
        assert_eq!(seconds("请在20秒后重试"), Some(20.0));
        assert_eq!(seconds("Please retry after 2026-11-22."), None);
        assert_eq!(seconds("Please try again in a while"), None);
    }
}
