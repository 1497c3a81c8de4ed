//! What the mock server and the clients agree on: the cases, and the text that every answer adds up to.

/// Deltas of one streamed answer.
pub const DELTAS: usize = 256;
/// Deltas of a stream that trickles, and of one of many at the same time.
pub const FEW_DELTAS: usize = 40;
/// What `prompt` sends, in bytes at least.
pub const PROMPT_BYTES: usize = 2_000_000;
/// What `history` sends, in messages.
pub const HISTORY: usize = 2_000;

/// One piece of the answer.
pub fn delta(at: usize) -> String {
    format!("-w{at:03}")
}

/// The whole text of an answer of that many deltas.
pub fn text(deltas: usize) -> String {
    (0..deltas).map(delta).collect()
}

/// The user's message of `prompt`: mostly plain text, with what has to be escaped or takes several bytes.
pub fn long_prompt() -> String {
    let line = "The quick brown fox said: \"jump\" over the lazy dog\\n and 漢字 — 0123456789.\n";
    line.repeat(PROMPT_BYTES / line.len() + 1)
}

/// The text of message `at` of `history`.
pub fn history_text(at: usize) -> String {
    format!("Message {at} of a long conversation: what was asked, and what was said about it, in one line.")
}
