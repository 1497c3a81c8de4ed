//! The answer of a run that must fit a schema: how it is asked for, checked, and asked for again.

use std::sync::OnceLock;

use loom_wire::{Completion, LlmError, json_answer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::schema::{PartialJson, Problem, Validator};

/// What the answer must be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// A name for the schema, which some servers want: letters, digits, `_` and `-`.
    pub name: String,
    /// The JSON schema of the answer; an object's.
    pub schema: Value,
    /// How often the model is told what does not fit and asked again. Default 2.
    #[serde(default = "default_retries")]
    pub max_retries: u32,
    /// The value asked for is no object, so it is asked for as the field `value` of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_wrapped: bool,
    #[serde(skip)]
    validator: OnceLock<Validator>,
}

impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.schema, self.max_retries, self.is_wrapped)
            == (&other.name, &other.schema, other.max_retries, other.is_wrapped)
    }
}

fn default_retries() -> u32 {
    2
}

impl Output {
    /// An answer that fits this schema. One that is not an object's is wrapped: servers take objects only.
    ///
    /// # Errors
    /// `config` if it is no valid schema.
    pub fn new(name: &str, schema: Value) -> Result<Self, LlmError> {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
            .take(64)
            .collect();
        let is_object = schema.get("type").is_some_and(|kind| kind == "object");
        let schema = if is_object { schema } else { wrapped(schema) };
        let output = Self {
            name: if name.is_empty() { "answer".to_owned() } else { name },
            validator: OnceLock::from(Validator::new(&schema)?),
            schema,
            max_retries: default_retries(),
            is_wrapped: !is_object,
        };
        Ok(output)
    }

    /// For the request.
    pub fn response_format(&self) -> Value {
        json!({"type": "json_schema", "json_schema": {"name": self.name, "schema": self.schema}})
    }

    /// What is there of an answer that is still being written.
    pub fn partial(&self) -> PartialJson {
        PartialJson::new(self.is_wrapped)
    }

    /// What the answer must fit.
    ///
    /// # Errors
    /// As [`Output::new`]; only if it was stored by a program whose schemas are others.
    pub fn validator(&self) -> Result<Validator, LlmError> {
        if let Some(known) = self.validator.get() {
            return Ok(known.clone());
        }
        let made = Validator::new(&self.schema)?;
        Ok(self.validator.get_or_init(|| made).clone())
    }

    /// The value in an answer, and the JSON text if the answer has something around it.
    pub(super) fn read(&self, answer: &Completion) -> Result<(Value, Option<String>), Vec<Problem>> {
        let whole = |message: String| vec![Problem { path: String::new(), message }];
        let validator = self.validator().map_err(|error| whole(error.message.clone()))?;
        if let Some(value) = self.bare(&validator, &answer.content) {
            return Ok((value, None));
        }
        let extracted = json_answer::check(answer).map_err(|error| whole(error.message.clone()))?;
        let text = extracted.as_deref().unwrap_or(&answer.content).trim();
        let value = serde_json::from_str(text).map_err(|error| whole(format!("it is not JSON: {error}")))?;
        let value = validator.check(value)?;
        Ok((self.unwrap(value), extracted))
    }

    /// A value that was to be wrapped and is not: models that are asked for a list or a word give just that.
    fn bare(&self, validator: &Validator, text: &str) -> Option<Value> {
        if !self.is_wrapped {
            return None;
        }
        let fits = |value: Value| validator.check(json!({"value": value})).ok();
        let text = text.trim();
        let value = match serde_json::from_str::<Value>(text) {
            Ok(value) if validator.check(value.clone()).is_ok() => return None,
            Ok(value) => fits(value),
            Err(_) if text.is_empty() || text.starts_with(['{', '[', '`']) => None,
            Err(_) => fits(text.into()),
        };
        value.map(|value| self.unwrap(value))
    }

    /// The value that was asked for.
    pub fn unwrap(&self, value: Value) -> Value {
        match value {
            Value::Object(mut fields) if self.is_wrapped => {
                fields.shift_remove("value").unwrap_or(Value::Object(fields))
            }
            value => value,
        }
    }

    /// What the model is told of an answer that does not fit.
    pub(super) fn repair(&self, problems: &[Problem]) -> String {
        let problems: Vec<String> = problems.iter().map(|problem| format!("- {problem}")).collect();
        format!(
            "This answer cannot be used:\n{}\nAnswer again with one JSON object and nothing else: no explanation, no code \
             fence. It must be valid against this JSON schema:\n{}",
            problems.join("\n"),
            self.schema
        )
    }

    /// What the model is told once it is done with the tools.
    pub(super) fn request(&self) -> String {
        format!(
            "Now give the answer as one JSON object and nothing else: no explanation, no code fence. It must be valid \
             against this JSON schema:\n{}",
            self.schema
        )
    }
}

/// An object with the schema as its field `value`; definitions stay at the root, where references point.
fn wrapped(mut schema: Value) -> Value {
    let definitions: Vec<(String, Value)> = ["$defs", "definitions"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), schema.as_object_mut()?.shift_remove(*name)?)))
        .map(|(name, mut value): (String, Value)| {
            lead_inward(&mut value);
            (name, value)
        })
        .collect();
    lead_inward(&mut schema);
    let mut outer = json!({
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
        "additionalProperties": false,
    });
    if let Some(fields) = outer.as_object_mut() {
        fields.extend(definitions);
    }
    outer
}

/// Lets references to the root, and to what stands there beside the definitions, point to where it stands now.
fn lead_inward(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(lead_inward),
        Value::Object(fields) => {
            if let Some(Value::String(path)) = fields.get_mut("$ref")
                && let Some(inner) =
                    path.strip_prefix('#').filter(|inner| inner.is_empty() || inner.starts_with('/'))
                && !inner.starts_with("/$defs/")
                && !inner.starts_with("/definitions/")
            {
                *path = format!("#/properties/value{inner}");
            }
            fields.values_mut().for_each(lead_inward);
        }
        _ => {}
    }
}
