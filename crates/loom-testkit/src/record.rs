//! What a server remembers: the requests it got, and what became of its connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::request::RecordedRequest;

/// How many connections a server has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// All that were ever accepted.
    pub opened: usize,
    /// Those open now.
    pub open: usize,
    /// Those that the client left in the middle of an answer.
    pub aborted: usize,
    /// Those over TLS for which the client took up a session that it had before.
    pub resumed: usize,
}

/// The memory of one server, shared by its connections. Both parts can be watched, so that a test can wait for
/// what is to come.
#[derive(Debug, Default)]
pub(crate) struct Record {
    requests: watch::Sender<Vec<RecordedRequest>>,
    connections: watch::Sender<Connections>,
}

impl Record {
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.borrow().clone()
    }

    pub(crate) fn connections(&self) -> Connections {
        *self.connections.borrow()
    }

    pub(crate) async fn wait_requests(&self, count: usize, timeout: Duration) -> bool {
        let mut requests = self.requests.subscribe();
        tokio::time::timeout(timeout, requests.wait_for(|requests| requests.len() >= count)).await.is_ok()
    }

    /// A server is quicker to look at its count than to accept a connection, so one that had no connection yet
    /// does not count as left by all.
    pub(crate) async fn wait_closed(&self, timeout: Duration) -> bool {
        let mut connections = self.connections.subscribe();
        let closed = connections.wait_for(|now| now.opened > 0 && now.open == 0);
        tokio::time::timeout(timeout, closed).await.is_ok()
    }

    /// Counts a connection as open until the value returned is dropped.
    pub(crate) fn open_connection(self: &Arc<Self>) -> OpenConnection {
        let mut index = 0;
        self.connections.send_modify(|now| {
            index = now.opened;
            now.opened += 1;
            now.open += 1;
        });
        OpenConnection { record: Arc::clone(self), index }
    }
}

/// One connection in the count.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    record: Arc<Record>,
    /// Its number, counted from 0 in the order of acceptance.
    pub(crate) index: usize,
}

impl OpenConnection {
    pub(crate) fn add_request(&self, request: RecordedRequest) {
        self.record.requests.send_modify(|requests| requests.push(request));
    }

    pub(crate) fn count_resumed(&self) {
        self.record.connections.send_modify(|now| now.resumed += 1);
    }

    pub(crate) fn count_aborted(&self) {
        self.record.connections.send_modify(|now| now.aborted += 1);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.record.connections.send_modify(|now| now.open -= 1);
    }
}
