//! The answer of a run: taken, or asked for again in words.

use std::sync::Arc;

use loom_wire::{Completion, Content, LedgerEntry, Message, Rule, ToolChoice};

use super::{Offer, Run, State, Step};
use crate::agent::error::AgentError;
use crate::schema::Problem;

impl Run {
    pub(super) fn take_answer(&mut self, completion: Completion, offer: &Offer) -> Result<Step, AgentError> {
        if let Some(wanted) = self.unheeded_choice(offer) {
            return self.tell_choice(completion, &wanted, offer);
        }
        let mut parsed = None;
        let mut text = None;
        if let Some(output) = &self.options.output {
            match output.read(&completion) {
                Ok((value, extracted)) => (parsed, text) = (Some(value), extracted),
                Err(problems) => {
                    // The format could not be asked for beside the tools, so that turn owed nothing.
                    let is_due = !completion.ledger.iter().any(|entry| entry.rule == Rule::FormatAfterTools);
                    let told = output.request();
                    let text = completion.content.clone();
                    self.say(completion);
                    return if is_due {
                        self.repair(problems, text, offer)
                    } else {
                        self.answer_now(told, offer)
                    };
                }
            }
        }
        let mut message = Message::from(completion);
        if let Some(json) = text {
            self.note(vec![LedgerEntry::new(Rule::JsonExtracted, "")])?;
            message.content = Some(Content::Text(json));
        }
        message.parsed = parsed;
        self.state = State::Done;
        self.messages.push(Arc::new(message.clone()));
        message.usage = self.usage;
        message.ledger.clone_from(&self.ledger);
        Ok(Step::Done(Box::new(message)))
    }

    /// An answer that fits its schema is refused by its type.
    pub(super) fn take_refusal(&mut self, problems: Vec<Problem>, offer: &Offer) -> Result<Step, AgentError> {
        let text = self.messages.last().map(|answer| answer.text()).unwrap_or_default();
        self.state = State::Model;
        self.repair(problems, text, offer)
    }

    /// Asks again for an answer that will not do and stands in the conversation; `text` is what it says.
    fn repair(&mut self, problems: Vec<Problem>, text: String, offer: &Offer) -> Result<Step, AgentError> {
        let told = match &self.options.output {
            Some(output) if self.repairs < output.max_retries => output.repair(&problems),
            _ => return Err(AgentError::Output { problems, text, run: self.stored() }),
        };
        self.repairs += 1;
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        self.note(vec![LedgerEntry::new(Rule::OutputRepaired, problems.join("; "))])?;
        self.answer_now(told, offer)
    }

    /// From here on only the answer is asked for, without tools.
    fn answer_now(&mut self, told: String, offer: &Offer) -> Result<Step, AgentError> {
        self.answering = true;
        self.ask_again(told, offer)
    }

    fn ask_again(&mut self, told: String, offer: &Offer) -> Result<Step, AgentError> {
        self.messages.push(Arc::new(Message::user(told)));
        self.ask_model(offer)
    }

    /// Puts an answer into the conversation, unless it is empty: some servers refuse such a message.
    fn say(&mut self, answer: Completion) {
        if !answer.is_empty() {
            self.messages.push(Arc::new(answer.into()));
        }
    }

    /// Whether the tools on offer can be chosen from as asked for.
    pub(super) fn check_choice(&self, offer: &Offer) -> Result<(), AgentError> {
        let is_open = self.used.tool_calls == 0 && !self.answering;
        let lacking = match self.options.tool_choice.as_ref().filter(|_| is_open) {
            Some(ToolChoice::Named(name)) if !offer.has(name) => format!("the tool {name:?}"),
            Some(ToolChoice::Required) if offer.specs().is_empty() => "a tool".to_owned(),
            _ => return Ok(()),
        };
        let message =
            format!("tool_choice wants {lacking} to be called, which is not on offer: {}", offer.names());
        Err(AgentError::ToolChoice { message, run: self.stored() })
    }

    /// The tool choice that this turn has not kept to.
    pub(super) fn unheeded_choice(&self, offer: &Offer) -> Option<ToolChoice> {
        let is_open = self.used.tool_calls == 0 && !self.answering && !offer.specs().is_empty();
        self.options
            .tool_choice
            .clone()
            .filter(|choice| is_open && matches!(choice, ToolChoice::Required | ToolChoice::Named(_)))
    }

    fn tell_choice(
        &mut self,
        completion: Completion,
        wanted: &ToolChoice,
        offer: &Offer,
    ) -> Result<Step, AgentError> {
        let what = match wanted {
            ToolChoice::Named(name) => format!("the tool {name:?}"),
            _ => "a tool".to_owned(),
        };
        if self.choice_told {
            self.messages.push(Arc::new(completion.into()));
            return Err(AgentError::ToolChoice {
                message: format!("the model was to call {what} and has not, though it was asked twice"),
                run: self.stored(),
            });
        }
        self.choice_told = true;
        self.note(vec![LedgerEntry::new(Rule::ToolChoiceIgnored, what.clone())])?;
        self.say(completion);
        self.ask_again(format!("You must call {what} now. Do not answer yet."), offer)
    }
}
