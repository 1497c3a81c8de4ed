//! [`Extra`]: what a single run adds to each of its requests. It may hold keys, so it is never stored with the run.

use std::fmt;

use loom_wire::Request;
use serde_json::{Map, Value};

use crate::endpoint::Headers;

/// Headers, query parameters and fields of the body for each model call of one run, beside those of the LLM.
///
/// ```no_run
/// use loom::agent::{Conversation, Extra};
///
/// # async fn ask(agent: loom::Agent) -> Result<(), loom::AgentError> {
/// let extra = Extra::default().header("X-Request-Purpose", "test").query("tenant", "a").body("top_k", 20);
/// agent.run(Conversation::from("Hello!").extra(extra)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq)]
#[must_use]
pub struct Extra {
    headers: Headers,
    query: Vec<(String, String)>,
    body: Map<String, Value>,
}

impl Extra {
    /// A header; it replaces the LLM's of that name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Leaves a header out that would be sent otherwise.
    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// A query parameter.
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// A field of the body; it wins over all others of that name.
    pub fn body(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.body.insert(name.into(), value.into());
        self
    }

    /// The request with these.
    #[must_use]
    pub fn added_to(&self, mut request: Request) -> Request {
        request.extra_headers.extend_from_slice(&self.headers);
        request.extra_query.extend_from_slice(&self.query);
        request.extra_body.extend(self.body.clone());
        request
    }
}

impl fmt::Debug for Extra {
    /// Without values, which may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&String> = self.headers.iter().map(|(name, _)| name).collect();
        let query: Vec<&String> = self.query.iter().map(|(name, _)| name).collect();
        let body: Vec<&String> = self.body.keys().collect();
        f.debug_struct("Extra")
            .field("headers", &headers)
            .field("query", &query)
            .field("body", &body)
            .finish()
    }
}
