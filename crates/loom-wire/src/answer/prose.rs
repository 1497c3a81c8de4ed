//! Prose ahead of the JSON that was asked for: it waits for the first bracket, so that an answer of nothing else can be asked for
//! again.

use crate::answer::AnswerDecoder;
use crate::event::Event;

impl AnswerDecoder {
    /// Prose is held back until the first bracket. An answer that has none has then delivered nothing, and can be asked for
    /// again: [`AnswerDecoder::holds_all`].
    pub fn hold_prose(&mut self) {
        self.prose = Some(String::new());
    }

    /// Whether all that has come waits for a bracket; of an answer that failed, whether it did until then.
    pub fn holds_all(&self) -> bool {
        self.prose.is_some() && self.reader.sum.reasoning.is_none() && !self.reader.sum.content.is_empty()
    }

    /// Holds prose back, or delivers it: behind the first bracket, and where the answer is over.
    pub(super) fn keep_prose(&mut self, from: usize, is_over: bool, out: &mut Vec<Event>) {
        let Some(prose) = self.prose.as_mut() else { return };
        let mut held = std::mem::take(prose);
        for event in out.split_off(from.min(out.len())) {
            match event {
                Event::ContentDelta { content } => {
                    if content.contains(['{', '[']) {
                        self.prose = None;
                    }
                    held.push_str(&content);
                }
                // The end of an answer: text comes before it.
                Event::ToolCalls { .. } | Event::Usage(_) | Event::Finish(_) if is_over => {
                    deliver(&mut held, out);
                    out.push(event);
                }
                event => {
                    // Thinking is delivered, so that nothing can be asked for again.
                    if matches!(event, Event::ReasoningDelta { .. }) {
                        self.prose = None;
                    }
                    out.push(event);
                }
            }
            if self.prose.is_none() {
                deliver(&mut held, out);
            }
        }
        if is_over {
            deliver(&mut held, out);
        }
        if let Some(prose) = &mut self.prose {
            *prose = held;
        }
    }
}

fn deliver(held: &mut String, out: &mut Vec<Event>) {
    if !held.is_empty() {
        out.push(Event::ContentDelta { content: std::mem::take(held) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{End, Limits};

    /// The deltas of a stream of these texts, with JSON wanted, and whether it failed with all of it held.
    fn deltas(texts: &[&str], thought: bool) -> (Vec<String>, bool) {
        let mut decoder = AnswerDecoder::new(Limits::default(), true, None);
        decoder.expect_json();
        decoder.hold_prose();
        let mut out = Vec::new();
        if thought {
            decoder.push(b"data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}\n\n", &mut out).unwrap();
        }
        for text in texts {
            let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{text:?}}}}}]}}\n\n");
            decoder.push(event.as_bytes(), &mut out).unwrap();
        }
        let end = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":1}}\n\n";
        decoder.push(end, &mut out).unwrap();
        let failed =
            decoder.push(b"data: [DONE]\n\n", &mut out).and_then(|()| decoder.end(End::Clean, &mut out));
        // Text comes before what ends an answer.
        assert!(
            out.windows(2).all(|pair| !matches!(
                pair,
                [Event::Usage(_) | Event::Finish(_), Event::ContentDelta { .. }]
            ))
        );
        let texts = out.into_iter().filter_map(|event| match event {
            Event::ContentDelta { content } => Some(content),
            _ => None,
        });
        (texts.collect(), failed.is_err() && decoder.holds_all())
    }

    #[test]
    fn prose_waits_for_the_first_bracket() {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (texts, thought, delivered, held) in [
            (&["{", "}"][..], false, &["{", "}"][..], false),
            (&["Sure", ": ", "{}", "."], false, &["Sure: {}", "."], false),
            (&["No", "."], false, &["No."], true),
            (&["No", "."], true, &["No", "."], false),
        ] {
            assert_eq!(deltas(texts, thought), (owned(delivered), held), "{texts:?}");
        }
    }
}
