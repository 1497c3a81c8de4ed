//! Chunks that repeat the one before them but for their text, which is most of a stream: the parts that are the same
//! byte for byte are compared and not decoded again.
//!
//! What is learnt comes from a chunk that was decoded in full and held text or thinking and nothing else that adds up,
//! so that the same chunk with another text means the same with another text. The text itself is checked as strictly
//! as in full: a whole JSON string, in UTF-8, without control characters. Everything else is decoded in full.

use std::borrow::Cow;

use memchr::memchr;

use crate::chunk::Chunk;
use crate::lenient::{Reason, Said};

/// What a piece of text is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The answer.
    Content,
    /// What the model thinks.
    Reasoning,
}

/// The chunk before, around its text.
#[derive(Debug, Default)]
pub(crate) struct Repeat {
    part: Option<Part>,
    /// Up to and with the quote that opens the text.
    before: Vec<u8>,
    /// From the quote that closes it.
    after: Vec<u8>,
}

impl Repeat {
    /// The text of a chunk that is the one before but for its text, which is never empty.
    pub(crate) fn read<'a>(&self, data: &'a [u8]) -> Option<(Part, Cow<'a, str>)> {
        let rest = data.strip_prefix(self.before.as_slice())?;
        let text = rest.strip_suffix(self.after.as_slice())?;
        let part = self.part?;
        // An escaped quote is text; one that is not would end the string here.
        let text = if memchr(b'\\', text).is_some() {
            let quoted = data.get(self.before.len() - 1..=self.before.len() + text.len())?;
            Cow::Owned(serde_json::from_slice(quoted).ok()?)
        } else if text.iter().all(|byte| *byte >= 0x20 && *byte != b'"') {
            Cow::Borrowed(std::str::from_utf8(text).ok()?)
        } else {
            return None;
        };
        (!text.is_empty()).then_some((part, text))
    }

    /// Learns from a chunk that was decoded from this very text.
    pub(crate) fn learn(&mut self, data: &str, chunk: &Chunk<'_>) {
        self.part = None;
        let Some((part, text)) = only_text(chunk) else { return };
        // Where the text stands in the data, which it borrows from.
        let from = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        let to = from.saturating_add(text.len());
        if from == 0 || data.get(from..to) != Some(text) {
            return;
        }
        let (Some(before), Some(after)) = (data.get(..from), data.get(to..)) else { return };
        if !before.ends_with('"') || !after.starts_with('"') {
            return;
        }
        self.before.clear();
        self.before.extend_from_slice(before.as_bytes());
        self.after.clear();
        self.after.extend_from_slice(after.as_bytes());
        self.part = Some(part);
    }
}

/// The text or thinking of a chunk that holds nothing else which adds up, if it stands there as it is.
fn only_text<'a>(chunk: &'a Chunk<'_>) -> Option<(Part, &'a str)> {
    let Chunk { choices: Some(choices), usage, error: None, x_groq, .. } = chunk else {
        return None;
    };
    let [choice] = choices.0.as_slice() else { return None };
    let delta = choice.delta.as_ref()?;
    let is_first = matches!(choice.index.value, None | Some(0)) && !choice.index.odd;
    let goes_on = matches!(choice.finish_reason, Reason::Absent | Reason::Empty);
    let nothing_else = choice.message.is_none()
        && choice.error.is_none()
        && [usage, &choice.usage].iter().all(|usage| usage.value.is_none() && !usage.odd)
        && x_groq.value.is_none()
        && !x_groq.odd
        && delta.reasoning_details.is_none()
        && delta.refusal.filled().is_none()
        && [&delta.content, &delta.reasoning_content, &delta.reasoning]
            .iter()
            .all(|said| said.refusal.is_empty() && !said.odd_parts)
        && delta.tool_calls.0.is_empty()
        && delta.function_call.is_none();
    if !(is_first && goes_on && nothing_else) {
        return None;
    }
    let empty = |said: &Said<'_>| said.text.filled().is_none() && said.thinking.filled().is_none();
    let (content, first, second) = (&delta.content, &delta.reasoning_content, &delta.reasoning);
    let (part, said) = match (empty(content), empty(first), empty(second)) {
        (false, true, true) => (Part::Content, content),
        (true, false, true) => (Part::Reasoning, first),
        (true, true, false) => (Part::Reasoning, second),
        _ => return None,
    };
    match &said.text.0 {
        Cow::Borrowed(text) if said.thinking.filled().is_none() => Some((part, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(data: &str) -> Repeat {
        let mut repeat = Repeat::default();
        repeat.learn(data, &serde_json::from_str(data).unwrap());
        repeat
    }

    fn chunk(content: &str) -> String {
        format!(
            r#"{{"id":"a","choices":[{{"index":0,"delta":{{"content":{content}}},"finish_reason":null}}]}}"#
        )
    }

    #[test]
    fn a_chunk_with_another_text_is_read_without_decoding_it() {
        let repeat = learnt(&chunk(r#""Hello""#));
        for (written, text) in [
            (r#"" you""#, " you"),
            (r#""漢字 é""#, "漢字 é"),
            (r#""a\n\"b\"\\""#, "a\n\"b\"\\"),
            (r#""\u00e9\ud83d\ude00""#, "é😀"),
            (r#""\"},\"x\":{\"""#, "\"},\"x\":{\""),
        ] {
            let data = chunk(written);
            assert_eq!(repeat.read(data.as_bytes()), Some((Part::Content, text.into())), "{written}");
        }
    }

    #[test]
    fn thinking_is_read_as_thinking() {
        for field in ["reasoning_content", "reasoning"] {
            let chunk = |text: &str| {
                format!(
                    r#"{{"choices":[{{"delta":{{"content":null,"{field}":"{text}"}},"finish_reason":""}}]}}"#
                )
            };
            let next = chunk("so");
            assert_eq!(learnt(&chunk("hm")).read(next.as_bytes()), Some((Part::Reasoning, "so".into())));
        }
    }

    #[test]
    fn whatever_else_is_new_is_decoded_in_full() {
        let repeat = learnt(&chunk(r#""Hello""#));
        for other in [
            chunk(r#""""#),
            chunk("null"),
            chunk(r#"["x"]"#),
            chunk("\"a\nb\""),
            chunk(r#""a","content":"b""#),
            chunk(r#""a","tool_calls":[{"function":{"name":"f"}}],"x":"b""#),
            chunk(r#""\ud800""#),
            chunk(r#""\x""#),
            chunk(r#""a\""#),
            chunk(r#""a\\",\"b""#),
            chunk(r#""x""#).replace("null}]", "\"stop\"}]"),
            chunk(r#""x""#).replace("\"a\"", "\"b\""),
            chunk(r#""x""#) + " ",
            String::new(),
        ] {
            assert_eq!(repeat.read(other.as_bytes()), None, "{other}");
        }
        let mut broken = chunk(r#""?""#).into_bytes();
        let at = broken.iter().position(|byte| *byte == b'?').unwrap();
        broken[at] = 0xff;
        assert_eq!(repeat.read(&broken), None);
        assert_eq!(Repeat::default().read(b"{}"), None);
    }

    #[test]
    fn a_stream_gives_the_same_events_as_one_that_has_to_be_decoded_in_full() {
        let delta = |fields: &str, rest: &str| {
            format!(
                r#"{{"id":"a","model":"m","choices":[{{"index":0,"delta":{{{fields}}},"finish_reason":null}}]{rest}}}"#
            )
        };
        let mut chunks = vec![delta(r#""role":"assistant","content":"""#, "")];
        for word in
            [r"<thi", r"nk>h", "m</think>", "a", r"\n", "", "b", r"\ud83d", r"\u00e9", "\"", "漢", "c", "d"]
        {
            let word = if word == "\"" { "\\\"" } else { word };
            chunks.push(delta(&format!(r#""content":"{word}""#), ""));
        }
        chunks.push(delta(r#""content":"e""#, r#","usage":{"prompt_tokens":3}"#));
        for word in ["f", "g"] {
            chunks.push(delta(&format!(r#""reasoning":"{word}","content":null"#), ""));
            chunks.push(delta(&format!(r#""content":"{word}","refusal":"{word}""#), ""));
        }
        chunks.push(delta(r#""content":"h""#, "").replace("null", "\"stop\""));
        let events = |spaces: &dyn Fn(usize) -> usize| {
            let mut decoder = crate::answer::AnswerDecoder::new(crate::answer::Limits::default(), true, None);
            let mut out = Vec::new();
            for (at, chunk) in chunks.iter().enumerate() {
                let chunk = chunk.replacen('{', &format!("{{{}", " ".repeat(spaces(at))), 1);
                decoder.push(format!("data: {chunk}\n\n").as_bytes(), &mut out).unwrap();
            }
            decoder.push(b"data: [DONE]\n\n", &mut out).unwrap();
            out
        };
        // Blanks that differ from chunk to chunk mean nothing, but no chunk repeats the one before.
        assert_eq!(events(&|_| 0), events(&|at| at % 2));
    }

    #[test]
    fn nothing_is_learnt_from_a_chunk_that_holds_more_than_text() {
        for data in [
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","refusal":"no"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","reasoning":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":[{"function":{"name":"f"}}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a\n"}}]}"#,
            r#"{"choices":[{"delta":{"content":["a"]}}]}"#,
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"error":{"message":"x"}}"#,
            r#"{"choices":[{"delta":{"content":""}}]}"#,
        ] {
            assert_eq!(learnt(data).part, None, "{data}");
        }
    }
}
