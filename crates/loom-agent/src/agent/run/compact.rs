//! What a run does when its conversation becomes longer than the model's context.

use loom_wire::{Completion, LedgerEntry, LlmError, Request, Rule, ledger};

use super::{Offer, Run, State, Step};
use crate::agent::context::{ContextPolicy, Cut};
use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;

impl Run {
    /// Whether leaving out old turns may help against this refusal.
    pub fn may_compact(&self, refusal: &LlmError) -> bool {
        matches!(self.state, State::Model) && self.context.clone().overflow(&self.messages, refusal).is_some()
    }

    /// Sends less of the conversation from now on, with a summary of what goes if that is wanted.
    pub(super) fn leave_out(&mut self, cut: Cut, offer: &Offer) -> Result<Step, AgentError> {
        if self.context.policy() == ContextPolicy::Summarize {
            return Ok(self.ask_summary(cut));
        }
        self.compact(&cut, None);
        Ok(self.request(offer))
    }

    pub(super) fn ask_summary(&mut self, cut: Cut) -> Step {
        let messages = self.context.summary_request(&self.messages, &cut);
        self.state = State::Summarizing(cut);
        Step::Summarize(Box::new(Request { messages, ..Request::default() }))
    }

    pub(super) fn take_summary(
        &mut self,
        summary: Result<Box<Completion>, LlmError>,
        cut: &Cut,
        offer: &Offer,
    ) -> Result<Step, AgentError> {
        let summary = match summary {
            Ok(completion) => {
                self.add_usage(completion.usage);
                self.used.count(&self.options.limits, &[], &completion);
                Some(completion.content.trim().to_owned())
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| "the model wrote no summary".to_owned())
            }
            Err(error) => Err(error.message.clone()),
        };
        self.compact(cut, Some(summary));
        self.state = State::Model;
        self.keep_to_limits()?;
        Ok(self.request(offer))
    }

    fn compact(&mut self, cut: &Cut, summary: Option<Result<String, String>>) {
        let compacted = self.context.compact(&self.messages, cut, summary);
        let detail = format!("{} turns, {} messages", compacted.removed_turns, compacted.removed_messages);
        ledger::merge(&mut self.ledger, [LedgerEntry::new(Rule::ContextCompacted, detail)]);
        self.reports.push(AgentEvent::ContextCompacted(compacted));
    }
}
