//! Carries out the calls of one turn: at once as far as that is allowed, within the limits of each tool.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use loom_wire::{Content, Message, Role, ToolCall};

#[cfg(feature = "otel")]
use crate::agent::otel;
use crate::agent::run::Run;
use crate::agent::tool::{Tool, Tools};
use crate::agent::tool_options::{Deps, ToolContext, ToolOptions};
use crate::model;

/// How many calls of a turn run at the same time unless told otherwise.
pub const DEFAULT_MAX_PARALLEL_TOOLS: usize = 8;

/// The ids of the calls that somebody must approve first.
pub(crate) fn to_be_held(tools: &Tools, run: &Run, calls: &[ToolCall]) -> Vec<String> {
    let waits = |call: &&ToolCall| {
        let needs = |tool: &Arc<dyn Tool>| tool.options().approval.is_needed(call);
        !run.is_approved(&call.id) && tools.get(&call.name).is_some_and(needs)
    };
    calls.iter().filter(waits).map(|call| call.id.clone()).collect()
}

/// The calls of one turn under way. Dropping it gives them up.
pub(crate) struct Execution {
    waiting: VecDeque<(ToolCall, Option<Arc<dyn Tool>>)>,
    running: FuturesUnordered<BoxFuture<'static, (ToolCall, Outcome)>>,
    /// The call that runs is one that runs alone.
    alone: bool,
    context: ToolContext,
    parallel: usize,
}

/// How a call ended.
pub(crate) struct Outcome {
    pub(crate) content: Content,
    pub(crate) is_error: bool,
    /// The run is to end with this failure.
    pub(crate) raise: bool,
}

/// What happened next.
pub(crate) enum Happened {
    Started(ToolCall),
    Ended(ToolCall, Outcome),
}

impl Execution {
    pub(crate) fn new(
        calls: impl IntoIterator<Item = (ToolCall, Option<Arc<dyn Tool>>)>,
        agent: &str,
        deps: Option<Deps>,
        parallel: usize,
    ) -> Self {
        Self {
            waiting: calls.into_iter().collect(),
            running: FuturesUnordered::new(),
            alone: false,
            context: ToolContext { agent: agent.to_owned(), given: deps, ..ToolContext::default() },
            parallel: parallel.max(1),
        }
    }

    /// The next start or end of a call; calls start in their order. `None` once all have ended.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        let is_alone =
            |tool: &Option<Arc<dyn Tool>>| tool.as_ref().is_some_and(|tool| tool.options().sequential);
        let may_start = self.waiting.front().is_some_and(|(_, tool)| {
            self.running.is_empty() || (!self.alone && !is_alone(tool) && self.running.len() < self.parallel)
        });
        if let Some((call, tool)) = may_start.then(|| self.waiting.pop_front()).flatten() {
            self.alone = is_alone(&tool);
            let context =
                ToolContext { call_id: call.id.clone(), tool: call.name.clone(), ..self.context.clone() };
            let started = call.clone();
            self.running.push(Box::pin(async move {
                let carried_out = carry_out(&call, tool, context);
                #[cfg(feature = "otel")]
                let carried_out =
                    otel::tool(&call, carried_out, |outcome| (&outcome.content, outcome.is_error));
                let outcome = carried_out.await;
                (call, outcome)
            }));
            return Some(Happened::Started(started));
        }
        self.running.next().await.map(|(call, outcome)| Happened::Ended(call, outcome))
    }
}

async fn carry_out(call: &ToolCall, tool: Option<Arc<dyn Tool>>, mut context: ToolContext) -> Outcome {
    let Some(tool) = tool else {
        return failed(format!("there is no tool called {:?}", call.name), &ToolOptions::DEFAULT);
    };
    let options = tool.options();
    loop {
        context.attempt += 1;
        let called = async { shown(tool.call(call, &context).await?).await };
        let result = match options.timeout {
            None => called.await,
            Some(limit) => match tokio::time::timeout(limit, called).await {
                Ok(result) => result,
                Err(_) => Err(format!("the tool did not end within {} s", limit.as_secs_f64())),
            },
        };
        match result {
            Ok(content) => {
                let content = limited(content, options.max_result_chars);
                return Outcome { content, is_error: false, raise: false };
            }
            Err(why) if context.attempt > options.retries => return failed(why, options),
            // Not why: what a tool says may hold what it was asked.
            Err(_) => {
                tracing::debug!(target: "loom", "the tool {} failed and is called again", call.name)
            }
        }
    }
}

fn failed(why: String, options: &ToolOptions) -> Outcome {
    let content = limited(Content::Text(format!("Error: {why}")), options.max_result_chars);
    Outcome { content, is_error: true, raise: options.raise_errors }
}

/// The content with its parts as servers take them: a file that cannot be read is the tool's failure.
async fn shown(content: Content) -> Result<Content, String> {
    if matches!(content, Content::Text(_)) {
        return Ok(content);
    }
    let mut messages = vec![Arc::new(Message::new(Role::Tool, content))];
    model::media::load(&mut messages).await.map_err(|error| error.message.clone())?;
    let content = messages.pop().and_then(|message| message.content.clone());
    Ok(content.unwrap_or_else(|| Content::Text(String::new())))
}

/// A result of at most so many characters of text; where there were more, its end says so.
pub fn limited(content: Content, limit: usize) -> Content {
    let cut = |text: String, left: &mut usize| match text.char_indices().nth(*left) {
        None => {
            *left -= text.chars().count();
            text
        }
        Some((at, _)) => {
            let all = text.chars().count();
            let kept = text.get(..at).unwrap_or_default();
            let note = format!("[cut: the first {left} of {all} characters are shown]");
            *left = 0;
            if kept.is_empty() { note } else { format!("{kept}\n{note}") }
        }
    };
    let mut left = limit;
    match content {
        Content::Text(text) => Content::Text(cut(text, &mut left)),
        Content::Parts(mut parts) => {
            for part in &mut parts {
                if let Some(serde_json::Value::String(text)) = part.get_mut("text") {
                    *text = cut(std::mem::take(text), &mut left);
                }
            }
            Content::Parts(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom_wire::part;

    #[test]
    fn a_result_is_cut_by_characters_and_says_so() {
        let text = |content: Content| limited(content, 3).text();
        assert_eq!(text("äöü".into()), "äöü");
        assert_eq!(text("äöüß".into()), "äöü\n[cut: the first 3 of 4 characters are shown]");
        let parts =
            Content::Parts(vec![part::text("ab"), part::image("a.png"), part::text("cd"), part::text("e")]);
        let Content::Parts(parts) = limited(parts, 3) else { panic!() };
        let texts: Vec<_> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        assert_eq!(
            texts,
            [
                "ab",
                "c\n[cut: the first 1 of 2 characters are shown]",
                "[cut: the first 0 of 1 characters are shown]"
            ]
        );
    }
}
