//! The bytes of a case straight through the decoder: whole, and cut up in every way, with one result.

use loom::{Completion, ErrorKind, LlmError};
use loom_wire::answer::{AnswerDecoder, End, Expected, Limits};
use serde_json::Value;

use crate::case;
use crate::matching::{error_value, event_value, merged};

/// What an answer came to.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Value>,
    pub(crate) sum: Completion,
    pub(crate) error: Option<Value>,
}

pub(crate) fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    end: case::End,
    expected: &Expected,
) -> Outcome {
    let stream_wanted = expected.request.as_ref().is_some_and(|request| request.stream);
    let mut decoder = AnswerDecoder::new(Limits::default(), stream_wanted, None).expecting(expected.clone());
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = decoder.push(piece, &mut events);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        let end = match end {
            case::End::Clean => End::Clean,
            _ => End::Broken(LlmError::new(ErrorKind::StreamInterrupted, "the connection broke")),
        };
        result = decoder.end(end, &mut events);
    }
    let mut sum = Completion::default();
    for event in &events {
        sum.absorb(event);
    }
    Outcome {
        events: events.iter().map(event_value).collect(),
        sum,
        error: result.err().map(|error| error_value(&error)),
    }
}

/// The whole body's outcome, after each way to cut the body up has led to the same.
pub(crate) fn decode_every_way(
    body: &[u8],
    end: case::End,
    expected_of: &Expected,
) -> Result<Outcome, String> {
    let whole = decode([body], end, expected_of);
    let expected = (merged(&whole.events), &whole.sum, &whole.error);
    let same = |how: String, other: Outcome| {
        let found = (merged(&other.events), &other.sum, &other.error);
        if found == expected {
            return Ok(());
        }
        let show = |events: &[Value], error: &Option<Value>| {
            format!("{} {}", Value::from(events), error.as_ref().unwrap_or(&Value::Null))
        };
        Err(format!(
            "{how} gives another result:\n    whole: {}\n    split: {}",
            show(&expected.0, expected.2),
            show(&found.0, found.2)
        ))
    };
    if body.len() <= 1 << 20 {
        same("byte by byte".to_owned(), decode(body.chunks(1), end, expected_of))?;
    }
    let step = (body.len() / 1500).max(1);
    if body.len() <= 64 << 10 {
        for at in (1..body.len()).step_by(step) {
            let (head, tail) = body.split_at(at);
            same(format!("split at {at}"), decode([head, tail], end, expected_of))?;
        }
    }
    let mut random = Random(body.len() as u64);
    for seed in 0..if body.len() > 1 << 20 { 2 } else { 20 } {
        let mut pieces = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let most = [4, 40, 400, 4000][seed % 4];
            let (piece, after) = rest.split_at((1 + random.next() % most).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        same(format!("random split {seed}"), decode(pieces, end, expected_of))?;
    }
    Ok(whole)
}

/// The same numbers in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize
    }
}
