//! OpenAI-compatible servers to test against, in the process of the test.
//!
//! A [`Server`] listens on a local port, keeps every request it got, and answers with what its [`Handler`]
//! says:
//!
//! - an [`Emulator`] behaves as a chat server does, with deterministic answers, tool calls and JSON included: OpenAI's, or
//!   one of the [`servers`] known by name;
//! - a [`Script`] answers with a list of [`Reply`]s, and a closure with whatever it likes. A reply controls
//!   every byte, so that a test can stall, cut off, reset, or lie about the length.
//!
//! A [`Proxy`] stands between a client and its servers and notes what it was asked for. With the feature
//! `tls`, servers speak HTTPS with certificates of a throwaway `TestCa`.
//!
//! ```
//! use loom_testkit::{Reply, Script, Server};
//! use serde_json::json;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let loading = Reply::json(503, &json!({"error": {"message": "Loading model"}}));
//! let server = Server::start(Script::new([loading.header("retry-after", "1")])).await?;
//!
//! // In the place of a client with `base_url = server.base_url()`:
//! let mut client = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await?;
//! client
//!     .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
//!     .await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//!
//! assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
//! let requests = server.requests();
//! assert_eq!(requests[0].path, "/v1/chat/completions");
//! assert_eq!(requests[0].json(), json!({}));
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api_error;
mod connection;
mod emulator;
mod handler;
mod http;
mod listen;
mod proxy;
mod record;
mod reply;
mod request;
mod script;
mod server;
pub mod servers;
#[cfg(feature = "tls")]
mod tls;

pub use emulator::{
    Calls, Emulator, FormatOver, Keys, LastText, Models, Page, Part, Refusal, ServerSpec, Stream, Turn,
    UsageChunk, When, Whole, refuse,
};
pub use handler::Handler;
pub use proxy::{Proxy, ProxyRules};
pub use record::Connections;
pub use reply::{Framing, Piece, Reply};
pub use request::RecordedRequest;
pub use script::Script;
pub use server::Server;
#[cfg(feature = "tls")]
pub use tls::{TestCa, TlsIdentity};
