//! What an LLM is to Loom: something that turns a request into events.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use loom_wire::{Completion, Event, LlmError, Request};

use crate::endpoint::Timeout;

/// The events of one call, in the order that [`Event`] states. After an error nothing follows.
///
/// Dropping it ends the call and closes its connection.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, LlmError>> + Send>>;

/// A language model. [`UnifiedLlm`](crate::UnifiedLlm) is the one for OpenAI-compatible endpoints; implement this for
/// whatever else there is.
///
/// ```
/// use futures_util::stream;
/// use loom::{Event, EventStream, Finish, FinishReason, Llm, Request};
///
/// struct Echo;
///
/// impl Llm for Echo {
///     fn model_name(&self) -> String {
///         "echo".to_owned()
///     }
///     fn stream(&self, request: Request) -> EventStream {
///         let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
///         let finish = Finish { finish_reason: Some(FinishReason::Stop), ..Finish::default() };
///         Box::pin(stream::iter([
///             Ok(Event::ContentDelta { content: said }),
///             Ok(Event::Finish(Box::new(finish))),
///         ]))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), loom::AgentError> {
/// let agent = loom::agent("parrot").llm(Echo).build()?;
/// assert_eq!(agent.run("hello").await?.text(), "hello");
/// # Ok(())
/// # }
/// ```
pub trait Llm: Send + Sync {
    /// The model's name; empty while it is not known.
    fn model_name(&self) -> String;

    /// Starts a call. Nothing happens until the stream is polled.
    fn stream(&self, request: Request) -> EventStream;

    /// Starts a call that is not repeated if it fails: someone else does that, such as a [`Pool`](crate::Pool).
    /// Default: as [`stream`](Self::stream).
    fn stream_once(&self, request: Request) -> EventStream {
        self.stream(request)
    }

    /// Who serves it, and where. Default: not known.
    fn served_by(&self) -> Option<ServedBy> {
        None
    }

    /// How long a call that starts now is expected to wait before it is sent, since there is a limit on calls at once
    /// or per minute. Default: not at all.
    fn expected_wait(&self) -> Duration {
        Duration::ZERO
    }

    /// How long a server that is loading the model is waited for; `None`: for ever. Default 300 s.
    fn loading_limit(&self) -> Option<Duration> {
        Timeout::default().loading
    }

    /// How many tokens the model's context holds, as far as the server has said it. Default: not known.
    fn context_window(&self) -> Option<u64> {
        None
    }

    /// Whether what has to be bridged is an error. Default no.
    fn is_strict(&self) -> bool {
        false
    }
}

/// Who serves a model, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// The provider's name; that of OpenTelemetry's GenAI conventions where they have one.
    pub provider: String,
    /// The host's name.
    pub host: String,
    /// The port, the scheme's own included.
    pub port: Option<u16>,
}

impl<L: Llm + ?Sized> Llm for Arc<L> {
    fn model_name(&self) -> String {
        (**self).model_name()
    }
    fn stream(&self, request: Request) -> EventStream {
        (**self).stream(request)
    }
    fn stream_once(&self, request: Request) -> EventStream {
        (**self).stream_once(request)
    }
    fn served_by(&self) -> Option<ServedBy> {
        (**self).served_by()
    }
    fn expected_wait(&self) -> Duration {
        (**self).expected_wait()
    }
    fn loading_limit(&self) -> Option<Duration> {
        (**self).loading_limit()
    }
    fn context_window(&self) -> Option<u64> {
        (**self).context_window()
    }
    fn is_strict(&self) -> bool {
        (**self).is_strict()
    }
}

/// Runs a call to its end and returns the sum of its events.
///
/// # Errors
/// What the stream yields; `stream_interrupted` if it ends without [`Event::Finish`].
pub async fn collect(mut events: EventStream) -> Result<Completion, LlmError> {
    let mut completion = Completion::default();
    while let Some(event) = events.next().await {
        let event = event?;
        let is_last = matches!(event, Event::Finish(_));
        completion.take(event);
        if is_last {
            return Ok(completion);
        }
    }
    Err(unfinished(completion))
}

/// Asks for a whole answer, and does not take one that cannot be used.
///
/// # Errors
/// Each kind of [`ErrorKind`](crate::ErrorKind); `bad_response` if the model wrote tool arguments that are no JSON
/// object, with the completion as `partial`.
pub async fn generate(llm: &(impl Llm + ?Sized), mut request: Request) -> Result<Completion, LlmError> {
    request.stream = false;
    let completion = collect(llm.stream(request)).await?;
    match completion.tool_calls.iter().find_map(|call| Some((call, call.invalid.as_ref()?))) {
        None => Ok(completion),
        Some((call, why)) => {
            let mut error = LlmError::bad_response(format!(
                "the model called {:?} with arguments that cannot be used: {why}: {:?}",
                call.name, call.arguments
            ));
            error.ledger.clone_from(&completion.ledger);
            Err(error.with_partial(completion))
        }
    }
}

/// The error of a stream that just stops.
pub(crate) fn unfinished(partial: Completion) -> LlmError {
    LlmError::new(loom_wire::ErrorKind::StreamInterrupted, "the LLM's stream ended without a finish event")
        .with_partial(partial)
}
