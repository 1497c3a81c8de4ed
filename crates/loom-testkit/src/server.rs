//! A server on a local port: accepts connections, records requests, answers with what its handler says.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinHandle;

use crate::connection::{Transport, serve};
use crate::handler::Handler;
use crate::listen::listen;
use crate::record::{Connections, Record};
use crate::request::RecordedRequest;

/// A server on a local port, which lives until it is dropped or [shut down](Server::shutdown).
///
/// It must be started inside a tokio runtime, on which it then runs.
#[derive(Debug)]
pub struct Server {
    scheme: &'static str,
    address: SocketAddr,
    base_path: String,
    record: Arc<Record>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub async fn start(handler: impl Handler) -> io::Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, 0), handler).await
    }

    /// Starts a server on an address of the caller's choice, as `"127.0.0.1:8000"`.
    ///
    /// # Errors
    /// When the address cannot be had, for one because another program listens there.
    pub async fn bind(address: impl ToSocketAddrs, handler: impl Handler) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Self::run("http", listener, handler, |stream| async { Ok(stream) })
    }

    /// Starts to accept connections, each of which `open` turns into what HTTP is spoken over.
    pub(crate) fn run<T, F>(
        scheme: &'static str,
        listener: TcpListener,
        handler: impl Handler,
        open: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        T: Transport,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let base_path = handler.base_path().to_owned();
        let record = Arc::new(Record::default());
        let handler = Arc::new(handler);
        let serve = move |stream, connection| {
            let opening = open(stream);
            let handler = Arc::clone(&handler);
            async move {
                if let Ok(stream) = opening.await {
                    serve(stream, handler.as_ref(), &connection).await;
                }
            }
        };
        let accepting = tokio::spawn(listen(listener, Arc::clone(&record), serve));
        Ok(Self { scheme, address, base_path, record, accepting })
    }

    /// What to give to a client: `http://127.0.0.1:PORT/v1`, or with the base path of the server that is emulated.
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), self.base_path)
    }

    /// Scheme, host and port: `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The port that the server listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests received so far, in the order in which they were complete.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.record.requests()
    }

    /// The connections so far.
    pub fn connections(&self) -> Connections {
        self.record.connections()
    }

    /// Waits until `count` requests have been received in all, for at most `timeout`; whether that came to
    /// pass.
    pub async fn wait_requests(&self, count: usize, timeout: Duration) -> bool {
        self.record.wait_requests(count, timeout).await
    }

    /// Waits until there has been a connection and none is open, for at most `timeout`; whether that came to
    /// pass. With this a test sees that a client which was cancelled has hung up.
    pub async fn wait_closed(&self, timeout: Duration) -> bool {
        self.record.wait_closed(timeout).await
    }

    /// Stops listening, closes all connections in the middle of whatever they do, and returns when the port
    /// is free.
    pub async fn shutdown(mut self) {
        self.accepting.abort();
        // The task was told to end, so that it ended by being told so is no error.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
