//! Whether a request went out on a connection that was kept from an earlier one: the server may have closed it meanwhile.
//!
//! The client tells nobody, so it is seen from below: a request for which no connection was begun had one already.

use std::cell::Cell;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    /// A connection was begun for the request under way.
    static CONNECTS: Cell<bool>;
}

/// Waits for what a request comes to, and says whether a connection was begun for it. One that is not used in the end,
/// since another became free first, counts, too.
pub(super) async fn watched<T>(request: impl Future<Output = T>) -> (T, bool) {
    let watched = async { (request.await, CONNECTS.with(Cell::get)) };
    CONNECTS.scope(Cell::new(false), watched).await
}

/// What a client's connections go through for that.
#[derive(Clone)]
pub(super) struct Watch;

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Watched(inner)
    }
}

#[derive(Clone)]
pub(super) struct Watched<S>(S);

impl<S: Service<R>, R> Service<R> for Watched<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        // Outside of a request nobody asks.
        let _ = CONNECTS.try_with(|begun| begun.set(true));
        self.0.call(request)
    }
}
