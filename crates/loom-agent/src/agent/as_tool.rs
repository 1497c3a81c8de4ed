//! An agent as a tool of another: the other asks, this one answers with a run of its own.

use futures_util::future::BoxFuture;
use loom_wire::{Content, ToolCall, ToolSpec};
use serde_json::json;

use crate::agent::start::{Agent, Conversation};
use crate::agent::tool::Tool;
use crate::agent::tool_options::ToolContext;

impl Agent {
    /// The agent as a tool that another one may call: with a message, to which it answers by a run of its own. That run
    /// gets what the calling run was given ([`ToolContext::deps`]), and nothing of its conversation.
    ///
    /// ```
    /// let translator = loom::agent("translator").base_url("http://localhost:8000/v1").build()?;
    /// let editor = loom::agent("editor")
    ///     .base_url("http://localhost:8000/v1")
    ///     .tool(translator.as_tool("translate", "Translates a text into French"))
    ///     .build()?;
    /// # Ok::<(), loom::AgentError>(())
    /// ```
    pub fn as_tool(&self, name: impl Into<String>, description: impl Into<String>) -> AgentTool {
        let mut spec = ToolSpec::new(name, description);
        let message =
            json!({"type": "string", "description": "What is asked of it, with all that it needs to know"});
        spec.parameters =
            json!({"type": "object", "properties": {"message": message}, "required": ["message"]});
        AgentTool { agent: self.clone(), spec }
    }
}

/// An agent as a tool of another. Made by [`Agent::as_tool`].
pub struct AgentTool {
    agent: Agent,
    spec: ToolSpec,
}

impl Tool for AgentTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        call: &'a ToolCall,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<Content, String>> {
        Box::pin(async move {
            let arguments = call.arguments_object();
            let message = arguments.get("message").and_then(|message| message.as_str());
            let message = message.ok_or("the arguments lack message")?;
            let answer = self.agent.run(Conversation::from(message).shared_deps(context.given.clone())).await;
            answer.map(|answer| Content::Text(answer.text())).map_err(|error| error.to_string())
        })
    }
}
