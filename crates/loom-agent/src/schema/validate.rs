//! The check of a value against a JSON schema.

use std::fmt;
use std::sync::Arc;

use loom_wire::LlmError;
use serde::Serialize;
use serde_json::Value;

use super::coerce::coerce;

/// The most problems that are told of one value: a model mends a few at a time, and reads no more than that.
const MAX_PROBLEMS: usize = 10;
/// The most characters of one problem; it may quote the value.
const MAX_MESSAGE: usize = 300;

/// A compiled JSON schema. Cheap to clone.
#[derive(Clone)]
pub struct Validator {
    schema: Arc<Value>,
    compiled: Arc<jsonschema::Validator>,
}

/// Where a value does not fit its schema, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The place in the value, as a JSON pointer; empty for the value itself.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl Validator {
    /// Compiles a schema (draft 2020-12 unless it names another). References are looked up within it and never fetched.
    ///
    /// # Errors
    /// `config` if it is no valid schema, or refers to something outside of it.
    pub fn new(schema: &Value) -> Result<Self, LlmError> {
        let compiled = jsonschema::options().build(schema).map_err(|error| {
            LlmError::config(format!("this JSON schema cannot be used: {}", cut(error.to_string())))
                .with_hint("references must point into the schema itself (\"#/$defs/…\")")
        })?;
        Ok(Self { schema: Arc::new(schema.clone()), compiled: Arc::new(compiled) })
    }

    /// The schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The value as the schema has it: what has one reading only is read so (`"3"` for 3, `null` for what may be left out).
    ///
    /// # Errors
    /// The problems, each with its place; never empty, at most ten.
    pub fn check(&self, mut value: Value) -> Result<Value, Vec<Problem>> {
        coerce(&mut value, &self.schema);
        let problems: Vec<Problem> = self
            .compiled
            .iter_errors(&value)
            .take(MAX_PROBLEMS)
            .map(|error| Problem { path: error.instance_path().to_string(), message: cut(error.to_string()) })
            .collect();
        if problems.is_empty() { Ok(value) } else { Err(problems) }
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Validator").field(&self.schema).finish()
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn problems_name_their_places() {
        let schema = json!({
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"minimum": 1}}},
            "required": ["city"],
            "additionalProperties": false,
        });
        let validator = Validator::new(&schema).unwrap();
        let good = json!({"city": "Paris", "days": [1]});
        assert_eq!(validator.check(good.clone()).unwrap(), good);
        let problems = validator.check(json!({"days": [1, 0], "x": 1})).unwrap_err();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|line| line.contains("\"city\" is a required property")), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("/days/1: ")), "{said:?}");
        assert!(said.iter().any(|line| line.contains('x')), "{said:?}");
    }

    #[test]
    fn much_that_is_wrong_is_told_in_short() {
        let schema = json!({"items": {"type": "integer"}});
        let problems = Validator::new(&schema)
            .unwrap()
            .check(Value::Array(vec!["x".repeat(5000).into(); 1000]))
            .unwrap_err();
        assert_eq!(problems.len(), MAX_PROBLEMS);
        assert!(problems.iter().all(|problem| problem.message.chars().count() <= MAX_MESSAGE + 1));
    }

    #[test]
    fn nothing_is_fetched_for_a_schema() {
        for reference in
            ["http://127.0.0.1:9/schema.json", "file:///etc/hostname", "other.json", "#/$defs/no"]
        {
            let error = Validator::new(&json!({"$ref": reference})).unwrap_err();
            assert_eq!(error.kind, loom_wire::ErrorKind::Config, "{reference}");
        }
        assert!(Validator::new(&json!({"type": "strin"})).is_err());
    }
}
