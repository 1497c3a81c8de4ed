//! The tools of a run as its machine sees them: their specs, and the check of what the model gives them.

use std::sync::OnceLock;

use loom_wire::{ToolCall, ToolSpec};
use serde_json::Value;

use crate::schema::Validator;

/// The tools on offer.
#[derive(Debug, Default)]
pub struct Offer {
    specs: Vec<ToolSpec>,
    /// Of each tool, compiled when it is first called; `None` if its schema cannot be used.
    validators: Vec<OnceLock<Option<Validator>>>,
}

impl Offer {
    /// These tools.
    pub fn new(specs: Vec<ToolSpec>) -> Self {
        let validators = specs.iter().map(|_| OnceLock::new()).collect();
        Self { specs, validators }
    }

    /// What the model is told about them.
    pub fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.specs.iter().any(|spec| spec.name == name)
    }

    /// What there is, in words.
    pub(super) fn names(&self) -> String {
        let names = self.specs.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
        if names.is_empty() { "there are none".to_owned() } else { format!("there are: {names}") }
    }

    /// The call with the arguments as the tool takes them.
    ///
    /// # Errors
    /// Why it cannot be executed, in words that the model can act on.
    pub(super) fn fit(&self, call: &ToolCall) -> Result<ToolCall, String> {
        if let Some(reason) = &call.invalid {
            return Err(format!(
                "{reason}. The tool was not called; call it again with valid JSON arguments."
            ));
        }
        let found = self.specs.iter().zip(&self.validators).find(|(spec, _)| spec.name == call.name);
        let Some((spec, validator)) = found else {
            return Err(format!("there is no tool called {:?}; {}.", call.name, self.names()));
        };
        let compiled = validator.get_or_init(|| {
            Validator::new(&spec.parameters)
                .inspect_err(
                    |error| tracing::warn!(target: "loom", tool = spec.name, %error, "arguments are not checked"),
                )
                .ok()
        });
        let Some(compiled) = compiled else { return Ok(call.clone()) };
        let given = Value::Object(call.arguments_object());
        match compiled.check(given.clone()) {
            // As the model wrote it: a number may be larger than Rust's.
            Ok(arguments) if arguments == given => Ok(call.clone()),
            Ok(arguments) => Ok(ToolCall { arguments: arguments.to_string(), ..call.clone() }),
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(format!(
                    "the arguments do not fit: {}. The tool was not called; call it again with arguments that fit its \
                     schema.",
                    problems.join("; ")
                ))
            }
        }
    }
}
