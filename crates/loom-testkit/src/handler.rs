//! Who decides what a server answers.

use std::sync::Arc;

use crate::reply::Reply;
use crate::request::RecordedRequest;

/// Decides what a [`Server`](crate::Server) answers.
///
/// [`Script`](crate::Script) and [`Emulator`](crate::Emulator) are handlers, and so is any closure from a
/// request to a reply. An `Arc` of a handler is one too, for a test that keeps an eye on its handler.
///
/// ```
/// use loom_testkit::{Handler, RecordedRequest, Reply};
///
/// /// Answers with the path that was asked for.
/// struct Echo;
///
/// impl Handler for Echo {
///     fn reply(&self, request: &RecordedRequest) -> Reply {
///         Reply::text(200, request.path.clone())
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request. Called once the whole request has been read, on the task of its connection:
    /// an answer that takes its time says so in its [pieces](crate::Piece) and does not block here.
    /// A handler that panics costs its client the connection, and the server nothing.
    fn reply(&self, request: &RecordedRequest) -> Reply;

    /// What stands before `/chat/completions` in the paths that it serves, for
    /// [`Server::base_url`](crate::Server::base_url).
    fn base_path(&self) -> &str {
        "/v1"
    }
}

impl<F> Handler for F
where
    F: Fn(&RecordedRequest) -> Reply + Send + Sync + 'static,
{
    fn reply(&self, request: &RecordedRequest) -> Reply {
        self(request)
    }
}

impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        self.as_ref().reply(request)
    }

    fn base_path(&self) -> &str {
        self.as_ref().base_path()
    }
}
