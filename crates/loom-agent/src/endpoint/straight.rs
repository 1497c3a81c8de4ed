//! The client for servers that are reached straight: HTTP without TLS, proxies or sockets, as most servers are that users run
//! themselves. It is hyper's own, which spares what reqwest does for the others: redirects, proxies, URLs parsed anew.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_http::decompression::{Decompression, DecompressionBody};
use tower_service::Service;

use super::resolver::Resolver;
use super::transport::{IDLE, KEEPALIVE, Way};

type BoxError = Box<dyn Error + Send + Sync>;

/// The client, with its pool of connections. Clones share it.
#[derive(Clone)]
pub(super) struct Client(Arc<legacy::Client<Connector, Full<Bytes>>>);

impl Client {
    pub(super) fn new(way: &Arc<Way>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(Arc::clone(way)));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(Connector { tcp, limit: way.connect });
        Self(Arc::new(client))
    }

    pub(super) async fn execute(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<DecompressionBody<Incoming>>, legacy::Error> {
        Decompression::new(&*self.0).call(request).await
    }
}

/// Connects within the limit of that clock, the name's lookup included.
#[derive(Clone)]
struct Connector {
    tcp: HttpConnector<Resolver>,
    limit: Option<Duration>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.tcp.call(uri), self.limit);
        Box::pin(async move {
            match limit {
                Some(limit) => tokio::time::timeout(limit, connecting).await.map_err(|_| TooLate)?,
                None => connecting.await,
            }
            .map_err(Into::into)
        })
    }
}

/// The connect clock ran out.
#[derive(Debug, thiserror::Error)]
#[error("the connection took too long")]
pub(super) struct TooLate;
