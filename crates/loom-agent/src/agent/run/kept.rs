//! What of a run is kept in a session.

use std::sync::Arc;

use loom_wire::Message;

use super::Run;
use crate::agent::context::Context;
use crate::session::{Session, SessionError, complete_part};

/// What a session lacks of a run.
#[derive(Clone, Debug)]
pub struct Unkept {
    /// The messages, to be added as one block.
    pub messages: Vec<Arc<Message>>,
    /// What was learnt about sending the conversation.
    pub learnt: serde_json::Value,
    /// How many messages of the session that speaks of.
    pub seen: usize,
}

impl Unkept {
    /// Adds it to the session. This may block on a file.
    ///
    /// # Errors
    /// The session cannot be written.
    pub fn add_to(&self, session: &Session) -> Result<(), SessionError> {
        match self.messages.is_empty() {
            true => Ok(()),
            false => session.add(&self.messages, Some((&self.learnt, self.seen))),
        }
    }
}

impl Run {
    /// Lets the run continue a session. `offset`: how many of its messages are the agent's own instructions, which the
    /// session does not keep. `history`: what was said in the session before. `learnt`: what
    /// [`take_unkept`](Self::take_unkept) gave the last time.
    pub fn continue_session(
        &mut self,
        offset: usize,
        history: Vec<Arc<Message>>,
        learnt: &serde_json::Value,
        model: &str,
    ) {
        let (offset, count) = (offset.min(self.messages.len()), history.len());
        self.messages.splice(offset..offset, history);
        self.given += count;
        self.kept = offset + count;
        let policy = self.options.policy(true);
        self.context = Context::new(policy, self.options.context_window, &self.messages);
        self.context.resume(offset, learnt, model);
    }

    /// What a session lacks of the run, as far as it is complete: never a call without its results, and nothing before the
    /// model has said something. It counts as kept from now on.
    pub fn take_unkept(&mut self, model: &str) -> Unkept {
        let seen = self.kept.saturating_sub(self.context.offset());
        let messages = complete_part(self.messages.get(self.kept..).unwrap_or_default()).to_vec();
        self.kept += messages.len();
        Unkept { messages, learnt: self.context.to_keep(model), seen }
    }

    /// It could not be kept: it is lacking again.
    pub fn not_kept(&mut self, unkept: &Unkept) {
        self.kept = self.kept.saturating_sub(unkept.messages.len());
    }

    /// Takes over what was kept since this copy was made.
    pub(crate) fn kept_as(&mut self, other: &Self) {
        self.kept = other.kept;
    }
}
