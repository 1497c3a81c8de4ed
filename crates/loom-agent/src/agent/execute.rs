//! Executing the calls of a turn: all at once, each with its tool.

use std::pin::Pin;

use futures_util::stream::FuturesUnordered;
use loom_wire::ToolCall;

use crate::agent::run::{Run, ToolResult};
use crate::agent::tool::Tools;

/// The calls under way; yields each with its result when it has one.
pub(crate) type Running = FuturesUnordered<Pin<Box<dyn Future<Output = (ToolCall, ToolResult)> + Send>>>;

/// The ids of the calls that somebody must approve first.
pub(crate) fn to_be_held(tools: &Tools, run: &Run, calls: &[ToolCall]) -> Vec<String> {
    let waits = |call: &&ToolCall| {
        !run.is_approved(&call.id) && tools.get(&call.name).is_some_and(|tool| tool.requires_approval(call))
    };
    calls.iter().filter(waits).map(|call| call.id.clone()).collect()
}

/// Starts the calls.
pub(crate) fn start(tools: &Tools, calls: Vec<ToolCall>) -> Running {
    let running = Running::new();
    for call in calls {
        let tool = tools.get(&call.name).cloned();
        running.push(Box::pin(async move {
            let returned = match &tool {
                Some(tool) => tool.call(&call).await,
                None => Err(format!("there is no tool called {:?}", call.name)),
            };
            let (content, is_error) = match returned {
                Ok(content) => (content, false),
                Err(error) => (format!("Error: {error}"), true),
            };
            let result = ToolResult { id: call.id.clone(), content: content.into(), is_error };
            (call, result)
        }));
    }
    running
}
