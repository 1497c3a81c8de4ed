//! When a server refuses: conditions on a request, as data.

use serde_json::Value;

use super::history::text;
use crate::request::RecordedRequest;

/// A condition. Places in the body are JSON pointers; a null counts as nothing there.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// The content type is not `application/json`.
    ContentType,
    /// The body is not JSON.
    BadJson,
    /// The body is not an object.
    NotObject,
    /// The model is not served.
    UnknownModel,
    /// The prompt has more tokens than the context.
    TooLong,
    /// Prompt and `max_tokens` together are more than the context.
    TooMuch,
    /// There is something.
    Has(&'static str),
    /// There is nothing, or null.
    Lacks(&'static str),
    /// There is null.
    Null(&'static str),
    /// There is this JSON.
    Is(&'static str, &'static str),
    /// There is a text that is none of these.
    NoneOf(&'static str, &'static [&'static str]),
    /// There is something that is not of this type: `"string"`, `"number"`, `"integer"`, `"array"`, `"object"`, `"bool"`.
    NotA(&'static str, &'static str),
    /// There is a number below.
    Below(&'static str, f64),
    /// There is a number above.
    Above(&'static str, f64),
    /// There is an empty list.
    Empty(&'static str),
    /// The body has a key that is none of these.
    OtherKey(&'static [&'static str]),
    /// `tool_choice` names a tool that was not offered.
    UnofferedTool,
    /// The texts contain none of these words, in any case.
    NoWord(&'static str),
    /// An item of the list at the pointer fulfils the condition.
    Any(&'static str, &'static When),
    /// Another message than the first fulfils the condition.
    Later(&'static When),
    /// The last message fulfils the condition.
    Last(&'static When),
    /// Two messages in a row have this role.
    Twice(&'static str),
    /// A text at the pointer is no JSON.
    NoJsonText(&'static str),
    /// A text at the pointer does not consist of this many letters and digits.
    NotAlnum(&'static str, usize),
    /// A text at the pointer has this in it.
    Contains(&'static str, &'static str),
    /// The path contains this.
    Path(&'static str),
    /// The query has no such name.
    NoQuery(&'static str),
    /// All of these.
    All(&'static [When]),
    /// One of these.
    Either(&'static [When]),
    /// Not this.
    Not(&'static When),
}

/// What conditions look at.
pub(super) struct Asked<'a> {
    pub(super) request: &'a RecordedRequest,
    /// Null if it is not JSON.
    pub(super) body: &'a Value,
    pub(super) models: &'a [String],
    pub(super) context: usize,
    pub(super) prompt_tokens: usize,
}

impl Asked<'_> {
    /// Whether the condition is fulfilled, and by what: the value, or the key, to be named in the refusal.
    pub(super) fn matches(&self, when: &When) -> Option<Value> {
        self.at(when, self.body)
    }

    fn at(&self, when: &When, value: &Value) -> Option<Value> {
        let there = |pointer: &str| value.pointer(pointer).filter(|value| !value.is_null());
        let yes = |holds: bool| holds.then_some(Value::Null);
        let number = |pointer: &str| there(pointer).and_then(Value::as_f64);
        match *when {
            When::ContentType => yes(!self.is_json()),
            When::BadJson => yes(serde_json::from_slice::<Value>(&self.request.body).is_err()),
            When::NotObject => yes(!value.is_object()),
            When::UnknownModel => {
                let model = there("/model").and_then(Value::as_str)?;
                // Gemini lists its models as models/NAME, and takes both.
                let short = model.strip_prefix("models/").unwrap_or(model);
                (!self.models.iter().any(|known| known == model || known == short)).then(|| model.into())
            }
            When::TooLong => yes(self.prompt_tokens > self.context),
            When::TooMuch => {
                let wanted = number("/max_tokens").or(number("/max_completion_tokens"))?;
                yes(self.prompt_tokens as f64 + wanted > self.context as f64)
            }
            When::Has(pointer) => there(pointer).cloned(),
            When::Lacks(pointer) => yes(there(pointer).is_none()),
            When::Null(pointer) => yes(value.pointer(pointer).is_some_and(Value::is_null)),
            When::Is(pointer, json) => there(pointer)
                .filter(|found| serde_json::from_str(json).is_ok_and(|json: Value| **found == json))
                .cloned(),
            When::NoneOf(pointer, texts) => {
                let text = there(pointer)?.as_str()?;
                (!texts.contains(&text)).then(|| text.into())
            }
            When::NotA(pointer, kind) => there(pointer).filter(|found| !is_a(found, kind)).cloned(),
            When::Below(pointer, least) => number(pointer).filter(|number| *number < least).map(Value::from),
            When::Above(pointer, most) => number(pointer).filter(|number| *number > most).map(Value::from),
            When::Empty(pointer) => yes(there(pointer)?.as_array()?.is_empty()),
            When::OtherKey(known) => value
                .as_object()?
                .keys()
                .find(|key| !known.contains(&key.as_str()))
                .map(|key| key.as_str().into()),
            When::UnofferedTool => {
                let name = there("/tool_choice/function/name")?;
                let tools = there("/tools").and_then(Value::as_array)?;
                (!tools.iter().any(|tool| tool.pointer("/function/name") == Some(name))).then(|| name.clone())
            }
            When::NoWord(word) => {
                let said = there("/messages")?
                    .as_array()?
                    .iter()
                    .any(|message| text(message).to_lowercase().contains(word));
                yes(!said)
            }
            When::Any(pointer, when) => {
                there(pointer)?.as_array()?.iter().find_map(|item| self.at(when, item))
            }
            When::Later(when) => {
                there("/messages")?.as_array()?.iter().skip(1).find_map(|item| self.at(when, item))
            }
            When::Last(when) => there("/messages")?.as_array()?.last().and_then(|item| self.at(when, item)),
            When::Twice(role) => {
                let messages = there("/messages")?.as_array()?;
                let is = |message: &Value| message.get("role").and_then(Value::as_str) == Some(role);
                yes(messages.iter().zip(messages.iter().skip(1)).any(|(one, next)| is(one) && is(next)))
            }
            When::NoJsonText(pointer) => {
                let text = there(pointer)?.as_str()?;
                yes(serde_json::from_str::<Value>(text).is_err())
            }
            When::NotAlnum(pointer, length) => {
                let text = there(pointer)?.as_str()?;
                let fits = text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                (!fits).then(|| text.into())
            }
            When::Contains(pointer, part) => yes(there(pointer)?.as_str()?.contains(part)),
            When::Path(part) => yes(self.request.path.contains(part)),
            When::NoQuery(name) => {
                let mut names = self.request.query.split('&').filter_map(|pair| pair.split('=').next());
                yes(!names.any(|known| known == name))
            }
            When::All(conditions) => {
                conditions.iter().map(|when| self.at(when, value)).reduce(|one, next| one.and(next)).flatten()
            }
            When::Either(conditions) => conditions.iter().find_map(|when| self.at(when, value)),
            When::Not(when) => yes(self.at(when, value).is_none()),
        }
    }

    fn is_json(&self) -> bool {
        let content_type = self.request.header("content-type").unwrap_or_default();
        content_type.split(';').next().map(str::trim) == Some("application/json")
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "bool" => value.is_boolean(),
        _ => false,
    }
}
