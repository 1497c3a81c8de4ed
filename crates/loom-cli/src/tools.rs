//! The tools of `loom run` and `loom chat`: those of MCP servers, started for the command and ended with it.

use clap::Args;
use loom::AgentBuilder;
use loom::mcp::{self, Server};
use tokio::runtime::Runtime;

use crate::failure::Failure;

const TOOLS: &str = "Tools";

/// Which tools there are, and how they are offered.
#[derive(Args, Clone, Default)]
pub(crate) struct ToolArgs {
    /// An MCP server whose tools the model may call: a command, such as "uvx mcp-server-time", or a URL; repeatable.
    /// The command gets no keys of the environment but those written before it: "TOKEN=… npx some-server"
    #[arg(long, value_name = "COMMAND", help_heading = TOOLS)]
    mcp: Vec<String>,
    /// Describe the tools in the prompt and find the calls in the answer's text, whatever the endpoint can do
    #[arg(long, help_heading = TOOLS)]
    react: bool,
}

/// The servers, connected when the first question is asked.
#[derive(Clone)]
pub(crate) struct Toolbox {
    servers: Vec<Server>,
    react: bool,
}

impl Toolbox {
    pub(crate) fn new(args: &ToolArgs) -> Result<Self, Failure> {
        let open =
            |text: &String| mcp::at(text).open().map_err(|error| Failure::usage(format!("--mcp: {error}")));
        Ok(Self { servers: args.mcp.iter().map(open).collect::<Result<_, _>>()?, react: args.react })
    }

    pub(crate) fn offer(&self, builder: AgentBuilder) -> AgentBuilder {
        let builder = builder.react_mode(self.react);
        self.servers.iter().cloned().fold(builder, AgentBuilder::tools_from)
    }

    /// Ends the servers.
    pub(crate) fn close(&self, runtime: &Runtime) {
        runtime.block_on(futures_util::future::join_all(self.servers.iter().map(Server::close)));
    }
}
