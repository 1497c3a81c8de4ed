//! The check of a complete answer against the format that its request asked for.
//!
//! An answer that does not fit shows that the endpoint passed over the format: it is kept in mind, and later requests tell
//! the format in the prompt as well. For a caller that does not check by himself it is an error.

use loom_wire::answer::AnswerDecoder;
use loom_wire::json_answer;
use loom_wire::{Completion, Event, FinishReason, LedgerEntry, LlmError, Request, Rule};
use serde_json::Value;

use crate::model::adapt::Adaptation;
use crate::schema::{Problem, Validator};

/// The most problems that an error's message names.
const SHOWN: usize = 3;

/// For a stream that was delivered, so that it is not asked for again.
const TOLD_FROM_NOW_ON: &str = "the endpoint has passed over response_format: from now on Loom tells it the format in the prompt as \
     well, so the next call of this process may succeed";

/// What the answer to a request must be.
pub(crate) struct FormatCheck {
    /// `None`: any JSON.
    validator: Option<Validator>,
    /// The caller checks by himself.
    unchecked: bool,
    strict: bool,
    /// The prompt says nothing of the format yet, and may.
    untold: bool,
    /// Whom the lesson is about: origin and model.
    place: (String, String),
}

impl FormatCheck {
    /// The check for a request; `None` if it asks for no JSON.
    ///
    /// # Errors
    /// `config` if the schema is none. It is left to the server where the caller checks by himself.
    pub(crate) fn of(
        request: &Request,
        (strict, untold): (bool, bool),
        origin: &str,
        model: &str,
    ) -> Result<Option<Self>, LlmError> {
        let Some(format) =
            request.response_format.as_ref().filter(|format| json_answer::is_asked_for(format))
        else {
            return Ok(None);
        };
        let is_schema = format.get("type").is_some_and(|kind| kind == "json_schema");
        let schema = format.pointer("/json_schema/schema").or_else(|| format.get("schema"));
        let validator = match schema.filter(|_| is_schema).map(Validator::new) {
            None => None,
            Some(Ok(validator)) => Some(validator),
            Some(Err(_)) if request.unchecked => None,
            Some(Err(error)) => return Err(error),
        };
        let place = (origin.to_owned(), model.to_owned());
        Ok(Some(Self { validator, unchecked: request.unchecked, strict, untold, place }))
    }

    /// Whether the decoder is to look for JSON.
    pub(crate) fn is_checked(&self) -> bool {
        !self.unchecked
    }

    /// Whether an answer that passes over the format can be asked for again, unless something of it was delivered.
    pub(crate) fn may_ask_again(&self) -> bool {
        self.is_checked() && self.untold
    }

    /// Checks a complete answer, whose last event is its end.
    pub(crate) fn check(&self, decoder: &mut AnswerDecoder, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Some(Event::Finish(finish)) = out.last_mut() else { return Ok(()) };
        let answer = decoder.partial();
        let is_cut = matches!(answer.finish_reason, Some(FinishReason::Length | FinishReason::ContentFilter));
        let is_blank = answer.content.trim().is_empty();
        if !answer.tool_calls.is_empty() || answer.refusal.is_some() || is_cut || is_blank {
            return Ok(());
        }
        match self.read(&answer) {
            Ok(None) => Ok(()),
            Ok(Some(_)) if self.unchecked => Ok(()),
            Ok(Some(_)) if self.strict => {
                out.pop();
                let entry = LedgerEntry::new(Rule::JsonRead, answer.content.as_str());
                Err(entry.into_error().with_partial(answer))
            }
            Ok(Some(text)) => {
                decoder.read_as(text, Rule::JsonRead, finish);
                Ok(())
            }
            Err(problems) => {
                self.passed_over();
                if self.unchecked {
                    return Ok(());
                }
                out.pop();
                Err(does_not_fit(&problems, answer))
            }
        }
    }

    /// The endpoint has passed over the format.
    pub(crate) fn passed_over(&self) {
        if !self.strict {
            Adaptation::remember_format(&self.place.0, &self.place.1);
        }
    }

    /// The endpoint has passed over the format, as this error says.
    pub(crate) fn passed_over_by(&self, error: &mut LlmError) {
        self.passed_over();
        if self.untold {
            error.hint = Some(TOLD_FROM_NOW_ON.to_owned());
        }
    }

    /// The text as the schema has it, if it is not what the model wrote.
    fn read(&self, answer: &Completion) -> Result<Option<String>, Vec<Problem>> {
        let whole = |message: String| vec![Problem { path: String::new(), message }];
        let extracted = json_answer::check(answer).map_err(|error| whole(error.message.clone()))?;
        let Some(validator) = &self.validator else { return Ok(None) };
        let text = extracted.as_deref().unwrap_or(&answer.content).trim();
        let value: Value = serde_json::from_str(text).map_err(|error| whole(error.to_string()))?;
        let read = validator.check(value.clone())?;
        Ok((read != value).then(|| read.to_string()))
    }
}

fn does_not_fit(problems: &[Problem], answer: Completion) -> LlmError {
    let mut shown: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    if problems.len() > SHOWN {
        shown.push("…".to_owned());
    }
    let mut error =
        LlmError::bad_response(format!("the answer does not fit its schema: {}", shown.join("; ")))
            .with_hint("an agent with output_type= tells the model what does not fit and asks again");
    error.param = Some(json_answer::PARAM.to_owned());
    error.request_id.clone_from(&answer.request_id);
    error.ledger.clone_from(&answer.ledger);
    error.with_partial(answer)
}
