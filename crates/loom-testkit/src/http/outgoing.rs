//! The writing half of a connection: a [`Reply`] put on the wire, piece by piece.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::reply::{Framing, Piece, Reply};
use crate::request::RecordedRequest;

/// What becomes of the connection after a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It waits for the next request.
    KeepAlive,
    /// It is closed in good order.
    Close,
    /// It is reset.
    Reset,
}

/// Writes `reply`, which answers `request`. Each piece is flushed by itself, so that the client can see it by
/// itself.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    request: &RecordedRequest,
    reply: &Reply,
) -> io::Result<After> {
    let framing = reply.framing_for(request.http_1_0);
    let after = if request.keeps_alive() && !reply.says_close() && !ends_with_connection(framing) {
        After::KeepAlive
    } else {
        After::Close
    };

    pause(reply.head_delay()).await;
    write(writer, &reply.head(framing)).await?;
    if request.method == "HEAD" || !reply.may_have_body() {
        return Ok(after);
    }
    for piece in reply.pieces() {
        match piece {
            Piece::Bytes(bytes) if framing == Framing::Chunked => write(writer, &chunk(&bytes)).await?,
            Piece::Bytes(bytes) => write(writer, &bytes).await?,
            Piece::Delay(delay) => pause(delay).await,
            Piece::Hang => std::future::pending().await,
            Piece::Reset => return Ok(After::Reset),
            Piece::Close => return Ok(After::Close),
        }
    }
    if framing == Framing::Chunked {
        write(writer, b"0\r\n\r\n").await?;
    }
    Ok(after)
}

fn ends_with_connection(framing: Framing) -> bool {
    matches!(framing, Framing::UntilClose | Framing::Raw)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

async fn write<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Sleeping for no time would still wait for the next tick of the timer, a millisecond.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
