//! The tools of `loom run` and `loom chat`: those of MCP servers, started for the command and ended with it; and which of
//! their calls somebody must approve.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use futures_util::future::{BoxFuture, join_all};
use loom::agent::{Approval, Tool, ToolContext, ToolOptions, ToolSource};
use loom::mcp::{self, Server, Settings};
use loom::{AgentBuilder, Config, Content, ToolCall, ToolSpec};
use tokio::runtime::Runtime;

use crate::connect::header_pair;
use crate::failure::Failure;

const TOOLS: &str = "Tools";

/// Which tools there are, and how they are offered.
#[derive(Args, Clone, Default)]
pub(crate) struct ToolArgs {
    /// An MCP server whose tools the model may call: a command, such as "uvx mcp-server-time", a URL, or the name of a
    /// section [mcp.NAME] of loom.toml; repeatable. The command gets no keys of the environment but those written before
    /// it: "TOKEN=… npx some-server"
    #[arg(long, value_name = "SERVER", help_heading = TOOLS)]
    mcp: Vec<String>,
    /// A header for the --mcp that is a URL, such as "Authorization: Bearer …"; repeatable. For several servers write
    /// sections to loom.toml
    #[arg(long, value_name = "HEADER", requires = "mcp", help_heading = TOOLS)]
    mcp_header: Vec<String>,
    /// Ask before each call of a tool, or of those named (--approve=TOOL,…). Where there is no terminal to ask on, such a
    /// call ends the command
    #[arg(long, value_name = "TOOL", num_args = 0..=1, require_equals = true, default_missing_value = "",
        requires = "mcp", help_heading = TOOLS)]
    approve: Option<String>,
    /// Describe the tools in the prompt and find the calls in the answer's text, whatever the endpoint can do
    #[arg(long, help_heading = TOOLS)]
    react: bool,
}

/// The servers, connected when the first question is asked.
#[derive(Clone)]
pub(crate) struct Toolbox {
    servers: Vec<Server>,
    /// The tools whose calls must be approved; empty: all.
    approve: Option<Vec<String>>,
    react: bool,
}

impl Toolbox {
    pub(crate) fn new(args: &ToolArgs, config: Option<&Path>) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("--mcp: {error}"));
        let config = match config {
            _ if args.mcp.is_empty() => None,
            Some(path) => Some(Config::load(path)?),
            None => Config::find()?,
        };
        let mut servers = Vec::new();
        let mut with_headers = 0;
        for text in &args.mcp {
            let named = config.as_ref().map_or(Ok(None), |config| config.mcp(text))?;
            let mut settings = named.unwrap_or_else(|| mcp::at(text));
            if is_url(text) {
                with_headers += 1;
                settings = add_headers(settings, &args.mcp_header)?;
            }
            servers.push(settings.open().map_err(|error| wrong(&error))?);
        }
        if !args.mcp_header.is_empty() && with_headers != 1 {
            return Err(Failure::usage(
                "--mcp-header goes with one --mcp that is a URL; for several, write sections [mcp.NAME] with headers to \
                 loom.toml",
            ));
        }
        let approve = args.approve.as_ref().map(|names| {
            names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        });
        Ok(Self { servers, approve, react: args.react })
    }

    pub(crate) fn offer(&self, builder: AgentBuilder) -> AgentBuilder {
        let builder = builder.react_mode(self.react);
        match &self.approve {
            None => self.servers.iter().cloned().fold(builder, AgentBuilder::tools_from),
            Some(names) => {
                builder.tools_from(Guarded { servers: self.servers.clone(), names: names.clone() })
            }
        }
    }

    /// Ends the servers.
    pub(crate) fn close(&self, runtime: &Runtime) {
        runtime.block_on(join_all(self.servers.iter().map(Server::close)));
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn add_headers(settings: Settings, headers: &[String]) -> Result<Settings, Failure> {
    headers.iter().try_fold(settings, |settings, given| match header_pair(given, "--mcp-header")? {
        (name, Some(value)) => Ok(settings.header(name, value)),
        (name, None) => Err(Failure::usage(format!("--mcp-header {name}: it has no value"))),
    })
}

/// The tools of servers, of which some must be approved.
struct Guarded {
    servers: Vec<Server>,
    names: Vec<String>,
}

impl ToolSource for Guarded {
    fn tools(&self) -> BoxFuture<'_, Result<Vec<Arc<dyn Tool>>, String>> {
        Box::pin(async {
            let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
            for listed in join_all(self.servers.iter().map(Server::tools)).await {
                tools.extend(listed.map_err(|error| error.to_string())?);
            }
            // A name that is not there would guard nothing, and nobody would notice.
            let known = |name: &String| tools.iter().any(|tool| tool.spec().name == *name);
            if let Some(unknown) = self.names.iter().find(|name| !known(name)) {
                let names: Vec<&str> = tools.iter().map(|tool| tool.spec().name.as_str()).collect();
                return Err(format!(
                    "--approve: there is no tool {unknown:?}; there are: {}",
                    names.join(", ")
                ));
            }
            let guard = |tool: Arc<dyn Tool>| -> Arc<dyn Tool> {
                if !self.names.is_empty() && !self.names.contains(&tool.spec().name) {
                    return tool;
                }
                let mut options = tool.options().clone();
                options.approval = Approval::Always;
                Arc::new(Guard { tool, options })
            };
            Ok(tools.into_iter().map(guard).collect())
        })
    }
}

/// A tool whose calls must be approved.
struct Guard {
    tool: Arc<dyn Tool>,
    options: ToolOptions,
}

impl Tool for Guard {
    fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }
    fn options(&self) -> &ToolOptions {
        &self.options
    }
    fn origin(&self) -> Option<&str> {
        self.tool.origin()
    }
    fn call<'a>(
        &'a self,
        call: &'a ToolCall,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<Content, String>> {
        self.tool.call(call, context)
    }
}
