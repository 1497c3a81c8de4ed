//! A server: its connection, which is made when it is needed, its tools and their calls.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use loom_wire::{Content, ToolCall, ToolSpec};
use reqwest::Url;
use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::{ClientInitializeError, NotificationContext, RunningService, ServiceError, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};
use serde_json::{Map, Value};

use super::child::{ChildTransport, Remarks};
use super::{McpError, result};
use crate::agent::{Tool, ToolContext, ToolSource};

/// How long what a server said before it ended is waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How to reach a server.
pub(super) enum Way {
    Command { words: Vec<String>, env: Vec<(String, String)>, folder: Option<PathBuf> },
    Url { url: Url, headers: HashMap<HeaderName, HeaderValue> },
}

/// An MCP server. Cheap to clone; all clones share the connection, which ends with the last of them.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    way: Way,
    /// For errors before the server has told its name.
    shown: String,
    timeout: Duration,
    prefix: Option<String>,
    name: Option<String>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// The name that the server gave itself.
    learnt: std::sync::Mutex<Option<String>>,
}

/// A connection.
struct Session {
    service: RunningService<RoleClient, Watcher>,
    remarks: Option<Arc<Remarks>>,
    /// A forked child must not use its parent's connection.
    process: u32,
    listed: tokio::sync::Mutex<Vec<Arc<Listed>>>,
    changed: Arc<AtomicBool>,
}

impl Session {
    fn is_alive(&self) -> bool {
        let is_ours = self.process == std::process::id();
        is_ours && !self.service.is_closed() && !self.service.is_transport_closed()
    }
}

/// A tool as the server lists it.
struct Listed {
    /// The server's own name for it.
    remote: String,
    spec: ToolSpec,
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// For the model.
    pub content: Content,
    /// The tool says that it failed.
    pub is_error: bool,
}

/// Hears that the list of tools has changed.
struct Watcher(Arc<AtomicBool>);

impl ClientHandler for Watcher {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("loom", env!("CARGO_PKG_VERSION")),
        )
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Server {
    pub(super) fn new(
        way: Way,
        shown: String,
        timeout: Duration,
        prefix: Option<String>,
        name: Option<String>,
    ) -> Self {
        Self(Arc::new(Inner {
            way,
            shown,
            timeout,
            prefix,
            name,
            session: tokio::sync::Mutex::default(),
            learnt: std::sync::Mutex::default(),
        }))
    }

    /// The server's name: the one given here, else its own, else its command or URL.
    pub fn name(&self) -> String {
        let learnt = || self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.0.name.clone().or_else(learnt).unwrap_or_else(|| self.0.shown.clone())
    }

    /// Connects unless it is connected. Calls do so by themselves.
    ///
    /// # Errors
    /// [`McpError`]: it cannot be started or reached, or does not answer in time.
    pub async fn connect(&self) -> Result<(), McpError> {
        self.session().await.map(drop)
    }

    /// The tools as the server lists them now; connects first if need be.
    ///
    /// # Errors
    /// [`McpError`].
    pub async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>, McpError> {
        let listed = self.current().await?;
        let origin: Arc<str> = self.name().into();
        let tool = |listed: Arc<Listed>| -> Arc<dyn Tool> {
            Arc::new(McpTool { server: self.clone(), origin: Arc::clone(&origin), listed })
        };
        Ok(listed.into_iter().map(tool).collect())
    }

    /// The tools as the server lists them now: its own names for them, and what the model is told.
    ///
    /// # Errors
    /// [`McpError`].
    pub async fn listed(&self) -> Result<Vec<(String, ToolSpec)>, McpError> {
        let listed = self.current().await?;
        Ok(listed.iter().map(|tool| (tool.remote.clone(), tool.spec.clone())).collect())
    }

    /// Whether the list that was given last still holds: the connection stands, and the server has not said that the
    /// tools have changed.
    pub fn is_current(&self) -> bool {
        let Ok(slot) = self.0.session.try_lock() else { return false };
        slot.as_ref().is_some_and(|session| session.is_alive() && !session.changed.load(Ordering::Acquire))
    }

    async fn current(&self) -> Result<Vec<Arc<Listed>>, McpError> {
        let session = self.session().await?;
        let mut listed = session.listed.lock().await;
        if session.changed.swap(false, Ordering::AcqRel) {
            match self.list(&session).await {
                Ok(now) => *listed = now,
                Err(error) => {
                    session.changed.store(true, Ordering::Release);
                    return Err(error);
                }
            }
        }
        Ok(listed.clone())
    }

    /// Calls a tool by the server's own name for it. Dropping the future tells the server that nobody waits any more.
    ///
    /// # Errors
    /// [`McpError`]; the failure of the tool itself is an [`Outcome`].
    pub async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<Outcome, McpError> {
        let session = self.session().await?;
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = Some(arguments);
        let what = format!("a call of {tool}");
        let result = self.within(&session, &what, session.service.call_tool(params)).await?;
        Ok(Outcome { is_error: result.is_error.unwrap_or(false), content: result::content(result) })
    }

    /// Ends the connection and the process. A later call connects again.
    pub async fn close(&self) {
        let session = self.0.session.lock().await.take();
        let Some(session) = session.filter(|session| session.process == std::process::id()) else { return };
        session.service.cancellation_token().cancel();
        // The end of the transport, which waits for the process, is waited for where nobody else uses it.
        if let Ok(mut session) = Arc::try_unwrap(session) {
            // A panic in rmcp's task; the process is killed when its transport is dropped.
            let _ = session.service.close().await;
        }
    }

    /// The connection; a new one if there is none or it has ended.
    async fn session(&self) -> Result<Arc<Session>, McpError> {
        let mut slot = self.0.session.lock().await;
        if let Some(session) = slot.as_ref() {
            if session.is_alive() {
                return Ok(Arc::clone(session));
            }
            if session.process != std::process::id() {
                // Dropping it would end what belongs to the parent.
                std::mem::forget(slot.take());
            }
        }
        let limit = self.0.timeout;
        let connecting = tokio::time::timeout(limit, self.open());
        let session = Arc::new(connecting.await.map_err(|_| McpError::Timeout {
            server: self.name(),
            what: "its start".to_owned(),
            limit,
            said: String::new(),
        })??);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn open(&self) -> Result<Session, McpError> {
        let changed = Arc::new(AtomicBool::new(true));
        let watcher = Watcher(Arc::clone(&changed));
        let cannot = |why: String| McpError::Connect { server: self.name(), why };
        let (service, remarks) = match &self.0.way {
            Way::Command { words, env, folder } => {
                let (transport, remarks) = ChildTransport::start(words, env, folder.as_deref())
                    .await
                    .map_err(|error| cannot(format!("{:?} cannot be started: {error}", self.0.shown)))?;
                // Within its own clock, so that what the server said is still at hand when time is up.
                let limit = self.0.timeout.mul_f64(0.95);
                let served = match tokio::time::timeout(limit, watcher.serve(transport)).await {
                    Ok(Ok(service)) => Ok(service),
                    Ok(Err(error)) => {
                        // Its last words may still be on their way.
                        tokio::time::sleep(LAST_WORDS).await;
                        Err(why_not(&error, Some(&remarks)))
                    }
                    Err(_) => {
                        let said = remarks.said();
                        Err(format!("it did not answer within {} s{said}", self.0.timeout.as_secs_f64()))
                    }
                };
                (served.map_err(cannot)?, Some(remarks))
            }
            Way::Url { url, headers } => {
                let client = crate::endpoint::client_for(url).map_err(|error| cannot(error.to_string()))?;
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                    .custom_headers(headers.clone());
                let transport = StreamableHttpClientTransport::with_client(client, config);
                let served = watcher.serve(transport).await;
                (served.map_err(|error| cannot(why_not(&error, None)))?, None)
            }
        };
        let told =
            service.peer_info().and_then(|info| info.server_info.as_ref().map(|info| info.name.clone()));
        *self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner) = told.filter(|name| !name.is_empty());
        Ok(Session {
            service,
            remarks,
            process: std::process::id(),
            listed: tokio::sync::Mutex::default(),
            changed,
        })
    }

    async fn list(&self, session: &Session) -> Result<Vec<Arc<Listed>>, McpError> {
        let listed = self.within(session, "the list of its tools", session.service.list_all_tools()).await?;
        let mut names: Vec<String> = Vec::new();
        let mut tools = Vec::new();
        for tool in listed {
            let wanted = match &self.0.prefix {
                Some(prefix) => format!("{prefix}_{}", tool.name),
                None => tool.name.to_string(),
            };
            let name = ToolSpec::free_name(&wanted, |name| names.iter().any(|taken| taken == name));
            names.push(name.clone());
            let mut parameters = Map::clone(&tool.input_schema);
            // Gemini refuses it.
            parameters.remove("$schema");
            let mut spec = ToolSpec::new(name, tool.description.unwrap_or_default());
            spec.parameters = Value::Object(parameters);
            tools.push(Arc::new(Listed { remote: tool.name.into_owned(), spec }));
        }
        Ok(tools)
    }

    /// An answer within the time limit, its failure in words.
    async fn within<T>(
        &self,
        session: &Session,
        what: &str,
        answer: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, McpError> {
        let limit = self.0.timeout;
        let said = || session.remarks.as_ref().map(|remarks| remarks.said()).unwrap_or_default();
        let server = self.name();
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) | Ok(Err(ServiceError::Timeout { .. })) => {
                Err(McpError::Timeout { server, what: what.to_owned(), limit, said: said() })
            }
            Ok(Err(ServiceError::McpError(error))) => {
                Err(McpError::Refused { server, why: error.message.into_owned() })
            }
            Ok(Err(error @ (ServiceError::TransportClosed | ServiceError::TransportSend(_)))) => {
                let end = session.remarks.as_ref().and_then(|remarks| remarks.end());
                let end = end.unwrap_or_else(|| chain(&error));
                Err(McpError::Ended { server, why: format!(" ({end}){}", said()) })
            }
            Ok(Err(error)) => Err(McpError::Refused { server, why: chain(&error) }),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl ToolSource for Server {
    fn tools(&self) -> BoxFuture<'_, Result<Vec<Arc<dyn Tool>>, String>> {
        Box::pin(async { Self::tools(self).await.map_err(|error| error.to_string()) })
    }
}

/// A tool of a server.
struct McpTool {
    server: Server,
    origin: Arc<str>,
    listed: Arc<Listed>,
}

impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.listed.spec
    }

    fn origin(&self) -> Option<&str> {
        Some(&self.origin)
    }

    fn call<'a>(&'a self, call: &'a ToolCall, _: &'a ToolContext) -> BoxFuture<'a, Result<Content, String>> {
        Box::pin(async move {
            let called = self.server.call(&self.listed.remote, call.arguments_object()).await;
            match called {
                Ok(outcome) if outcome.is_error => Err(outcome.content.text()),
                Ok(outcome) => Ok(outcome.content),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Why a connection could not be made.
fn why_not(error: &ClientInitializeError, remarks: Option<&Arc<Remarks>>) -> String {
    let said = remarks.map(|remarks| remarks.said()).unwrap_or_default();
    match remarks.and_then(|remarks| remarks.end()) {
        Some(end) => format!("it ended before it had answered ({end}){said}"),
        None => format!("{}{said}", chain(error)),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
