//! HTTP/1.1 on one connection, by hand: a test must control every byte that goes out, broken framing
//! included.

pub(crate) mod incoming;
pub(crate) mod outgoing;
