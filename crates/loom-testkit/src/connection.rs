//! One connection from its first request to its end.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::handler::Handler;
use crate::http::incoming::{Incoming, Unreadable};
use crate::http::outgoing::{After, send};
use crate::record::OpenConnection;

/// What HTTP is spoken over: TCP, or TLS on TCP.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Makes the next close a reset.
    fn reset_on_close(&self) -> io::Result<()>;

    /// Whether the client took up a session that it had before.
    fn is_resumed(&self) -> bool {
        false
    }
}

impl Transport for TcpStream {
    fn reset_on_close(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

/// Answers the requests on `stream` one after the other until either side ends the connection.
pub(crate) async fn serve<T: Transport>(stream: T, handler: &dyn Handler, connection: &OpenConnection) {
    if stream.is_resumed() {
        connection.count_resumed();
    }
    let (reader, mut writer) = tokio::io::split(stream);
    let mut incoming = Incoming::new(reader);
    loop {
        let request = match incoming.request(&mut writer, connection.index).await {
            Ok(request) => request,
            Err(Unreadable::Gone) => return,
            Err(Unreadable::Refused(reply)) => {
                // The client may be gone as well, and there is nobody else to tell.
                let _ = writer.write_all(&reply.to_bytes()).await;
                let _ = writer.shutdown().await;
                return;
            }
        };
        connection.add_request(request.clone());
        let reply = handler.reply(&request);

        // That the client left is looked at first, so that it is noticed even when there is always more to
        // write.
        let after = tokio::select! {
            biased;
            () = incoming.gone() => None,
            sent = send(&mut writer, &request, &reply) => sent.ok(),
        };
        match after {
            Some(After::KeepAlive) => {}
            Some(After::Close) => {
                let _ = writer.shutdown().await;
                return;
            }
            Some(After::Reset) => {
                let (reader, _) = incoming.into_parts();
                let _ = reader.unsplit(writer).reset_on_close();
                return;
            }
            None => return connection.count_aborted(),
        }
    }
}
