//! Accepting connections, for servers and proxies alike.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::record::{OpenConnection, Record};

/// Accepts connections for ever and serves each on a task of its own. The connections belong to the task that
/// runs this, and end when it is aborted.
pub(crate) async fn listen<F>(
    listener: TcpListener,
    record: Arc<Record>,
    serve: impl Fn(TcpStream, OpenConnection) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Forgets those that have ended, lest a server that runs for long collect them.
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: that passes, and must not spin meanwhile.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without this the kernel holds back small writes, and pieces would arrive glued together.
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, record.open_connection()));
    }
}
