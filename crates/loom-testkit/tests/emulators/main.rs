//! The emulated servers beside the real ones, and their manners down to the byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as tests do"
)]

mod badproxy;
mod captures;
mod client;
mod every;
mod framing;
mod obey;
mod shape;
