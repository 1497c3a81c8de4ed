//! The behaviours of the testkit, one module each, seen by a client that speaks nothing but bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as tests do"
)]

mod answers;
mod arguments;
mod client;
mod leaving;
mod proxy;
mod refusals;
mod replies;
mod requests;
mod script;
mod streams;
#[cfg(feature = "tls")]
mod tls;
