//! [`Adapter`]: an API that is not OpenAI-like, told in OpenAI's words. All the rest of a call stays Loom's.

use std::sync::Arc;

use bytes::Bytes;
use loom_wire::sse::{Frame, SseDecoder};
use loom_wire::{FinishReason, Limits, LlmError, Profile, chunk};
use serde_json::{Map, Value, json};

/// Translates between OpenAI's chat format and another API's, for one [`UnifiedLlm`](crate::UnifiedLlm)
/// ([`LlmSettings::adapter`](crate::LlmSettings::adapter)). It does no IO: keys, proxies, clocks, retries and errors are
/// those of any other endpoint.
///
/// One value serves all calls at once, so it keeps nothing between events.
pub trait Adapter: Send + Sync {
    /// Where requests go, behind the base URL: `messages`.
    fn path(&self) -> &str;

    /// What the API takes of what OpenAI's format can say: with `system: first`, say, `request` finds one system message
    /// at most, at the beginning. With `alternate_roles`, neighbouring `messages` of one role in the body that it gives are
    /// joined where their contents are lists. Default: all of it.
    fn profile(&self) -> Profile {
        Profile::default()
    }

    /// The request's body in OpenAI's form (`model`, `messages`, `tools`, the parameters) → the one that is sent. It always
    /// asks for a stream; an API that has none answers in one piece. A field of the result that is null is not sent.
    ///
    /// # Errors
    /// `config` for what the API cannot be asked.
    fn request(&self, body: Value) -> Result<Value, LlmError>;

    /// An event of the answer → a chunk in OpenAI's form, or `None` if it says nothing. A body that is no event stream
    /// is one event.
    ///
    /// Counts of tokens and the finish reason may have other APIs' names (`input_tokens`, `end_turn`). Usage may come in
    /// parts: counts of several chunks are put together, and the total is their sum if none names it. Events that carry an
    /// `error` do not come here; Loom reads them itself.
    ///
    /// # Errors
    /// `bad_response` for what the API should not have sent.
    fn chunk(&self, event: Value) -> Result<Option<Value>, LlmError>;
}

/// What requests to the API are made from.
pub(crate) fn profile(adapter: &dyn Adapter) -> Profile {
    let mut profile = Profile { stream_usage: Some(false), ..Profile::default() };
    profile.overlay(&adapter.profile());
    profile
}

/// The body of a request in OpenAI's form, as the API has it.
pub(crate) fn translated(adapter: &dyn Adapter, body: &Bytes) -> Result<Bytes, LlmError> {
    let body = serde_json::from_slice(body).map_err(|error| LlmError::config(error.to_string()))?;
    let mut body = adapter.request(body)?;
    // Indexing a JSON value for what it has not leaves a null there.
    if let Value::Object(fields) = &mut body {
        fields.retain(|_, field| !field.is_null());
        if adapter.profile().alternate_roles == Some(true)
            && let Some(Value::Array(messages)) = fields.get_mut("messages")
        {
            *messages = take_turns(std::mem::take(messages));
        }
    }
    Ok(body.to_string().into())
}

/// Joins neighbours of one role whose contents are lists: results of tools, say, that the API has the user tell.
fn take_turns(messages: Vec<Value>) -> Vec<Value> {
    let mut turns: Vec<Value> = Vec::with_capacity(messages.len());
    for mut message in messages {
        let last = turns.last_mut().filter(|last| last.get("role") == message.get("role"));
        match (last.and_then(|last| last.get_mut("content")), message.get_mut("content")) {
            (Some(Value::Array(said)), Some(Value::Array(more))) => said.append(more),
            _ => turns.push(message),
        }
    }
    turns
}

/// An answer's bytes, translated as they come.
pub(crate) struct Translation {
    adapter: Arc<dyn Adapter>,
    form: Form,
    body_bytes: usize,
    event_bytes: usize,
    usage: Map<String, Value>,
}

enum Form {
    /// Nothing but blanks so far.
    Unknown,
    Stream(Box<SseDecoder>),
    /// Anything else: one event.
    Whole(Vec<u8>),
}

impl Translation {
    pub(crate) fn new(adapter: Arc<dyn Adapter>, limits: &Limits) -> Self {
        let Limits { body_bytes, event_bytes, .. } = *limits;
        Self { adapter, form: Form::Unknown, body_bytes, event_bytes, usage: Map::new() }
    }

    /// More of the answer → the same in OpenAI's form.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, LlmError> {
        if matches!(self.form, Form::Unknown) {
            self.form = match bytes.trim_ascii_start().first() {
                None => return Ok(Vec::new()),
                Some(b'{' | b'[' | b'<') => Form::Whole(Vec::new()),
                Some(_) => Form::Stream(Box::new(SseDecoder::new(self.event_bytes))),
            };
        }
        match &mut self.form {
            Form::Stream(decoder) => {
                decoder.push(bytes);
                self.read_frames()
            }
            Form::Whole(body) if body.len().saturating_add(bytes.len()) <= self.body_bytes => {
                body.extend_from_slice(bytes);
                Ok(Vec::new())
            }
            _ => Err(LlmError::bad_response(format!("the answer is larger than {} bytes", self.body_bytes))
                .with_hint("limits={\"body_bytes\": …} allows more")),
        }
    }

    /// The answer has ended.
    pub(crate) fn end(&mut self) -> Result<Vec<u8>, LlmError> {
        match &mut self.form {
            Form::Unknown => Ok(Vec::new()),
            Form::Stream(decoder) => {
                decoder.end();
                self.read_frames()
            }
            Form::Whole(body) => {
                let body = std::mem::take(body);
                let Ok(event) = serde_json::from_slice(&body) else {
                    // A web page, mostly: Loom says what it is.
                    return Ok(body);
                };
                let mut out = Vec::new();
                self.translate(event, &mut out)?;
                Ok(out)
            }
        }
    }

    fn read_frames(&mut self) -> Result<Vec<u8>, LlmError> {
        let (mut events, mut out) = (Vec::new(), Vec::new());
        let Form::Stream(decoder) = &mut self.form else { return Ok(out) };
        let limit = self.event_bytes;
        let too_large = |_| LlmError::bad_response(format!("an event is larger than {limit} bytes"));
        while let Some(frame) = decoder.next_frame().map_err(too_large)? {
            let Frame::Data { data, is_error, .. } = frame else { continue };
            match serde_json::from_slice::<Value>(data) {
                Ok(event) => events.push((event, is_error)),
                // OpenAI's mark of the end, where an API has that much of it.
                Err(_) if data.trim_ascii() == b"[DONE]" => {}
                Err(error) => {
                    return Err(LlmError::bad_response(format!(
                        "an event of the stream is no JSON: {error}"
                    )));
                }
            }
        }
        for (event, is_error) in events {
            if is_error {
                out.extend_from_slice(format!("event: error\ndata: {event}\n\n").as_bytes());
            } else {
                self.translate(event, &mut out)?;
            }
        }
        Ok(out)
    }

    fn translate(&mut self, event: Value, out: &mut Vec<u8>) -> Result<(), LlmError> {
        let chunk = match event.get("error").is_some_and(chunk::is_error) {
            true => Some(event),
            false => self.adapter.chunk(event)?,
        };
        if let Some(mut chunk) = chunk {
            name_finish(&mut chunk);
            self.add_up_usage(&mut chunk);
            out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
        }
        Ok(())
    }

    /// Counts that came before are added to a chunk that counts.
    fn add_up_usage(&mut self, chunk: &mut Value) {
        let Some(Value::Object(counts)) = chunk.get_mut("usage") else { return };
        let named = std::mem::take(counts).into_iter().filter(|(_, count)| !count.is_null());
        self.usage.extend(named.map(|(name, count)| match name.as_str() {
            "input_tokens" => ("prompt_tokens".to_owned(), count),
            "output_tokens" => ("completion_tokens".to_owned(), count),
            _ => (name, count),
        }));
        counts.clone_from(&self.usage);
        let count = |name: &str| self.usage.get(name).and_then(Value::as_u64);
        if let (None, Some(prompt), Some(answer)) =
            (count("total_tokens"), count("prompt_tokens"), count("completion_tokens"))
        {
            counts.insert("total_tokens".to_owned(), json!(prompt.saturating_add(answer)));
        }
    }
}

/// The finish reason's name in OpenAI's format: to have another is no defect of another API.
fn name_finish(chunk: &mut Value) {
    for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(reason) = choice.get_mut("finish_reason")
            && let Some(word) = reason.as_str()
        {
            *reason = FinishReason::from_wire(word).0.as_str().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes texts and counts by their own names.
    struct Own;

    impl Adapter for Own {
        fn path(&self) -> &str {
            "own"
        }
        fn request(&self, body: Value) -> Result<Value, LlmError> {
            Ok(body)
        }
        fn chunk(&self, event: Value) -> Result<Option<Value>, LlmError> {
            Ok(event.get("say").map(|text| {
                json!({"choices": [{"delta": {"content": text}, "finish_reason": event.get("why")}], "usage": {
                    "input_tokens": event.get("in"), "output_tokens": event.get("out"),
                }})
            }))
        }
    }

    fn translated(bytes: &[u8], every: usize) -> Result<String, LlmError> {
        let mut translation = Translation::new(Arc::new(Own), &Limits::default());
        let mut out = Vec::new();
        for piece in bytes.chunks(every) {
            out.extend(translation.push(piece)?);
        }
        out.extend(translation.end()?);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn events_become_chunks_wherever_they_are_split() {
        let stream = b"event: start\ndata: {\"say\":\"a\",\"in\":3}\n\n: ping\n\ndata: {\"nothing\":1}\n\n\
            data: {\"say\":\"b\",\"out\":2,\"why\":\"end_turn\"}\n\nevent: error\ndata: {\"message\":\"busy\"}";
        let expected = translated(stream, stream.len()).unwrap();
        assert!(expected.contains(r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#));
        assert!(expected.contains(r#""finish_reason":"stop""#), "{expected}");
        assert!(expected.ends_with("event: error\ndata: {\"message\":\"busy\"}\n\n"), "{expected}");
        assert_eq!(expected.matches("data: ").count(), 3);
        for every in 1..40 {
            assert_eq!(translated(stream, every).unwrap(), expected, "{every}");
        }
    }

    #[test]
    fn neighbours_of_one_role_are_joined_where_their_contents_are_lists() {
        let said = |role: &str, content: Value| json!({"role": role, "content": content});
        let messages = vec![
            said("user", json!([1])),
            said("user", json!([2, 3])),
            said("assistant", json!([4])),
            said("user", json!("a")),
            said("user", json!([5])),
            json!({"content": [6]}),
            json!(7),
        ];
        let joined = take_turns(messages.clone());
        assert_eq!(joined.first(), Some(&said("user", json!([1, 2, 3]))));
        assert_eq!(joined.get(1..), messages.get(2..));
    }

    #[test]
    fn a_body_that_is_no_stream_is_one_event_and_an_error_is_passed_on() {
        assert!(translated(b" {\"say\":\"a\"}", 1).unwrap().contains(r#""content":"a""#));
        let refused = r#"{"error":{"message":"no"}}"#;
        assert_eq!(translated(refused.as_bytes(), 5).unwrap(), format!("data: {refused}\n\n"));
        assert_eq!(translated(b"<html>", 2).unwrap(), "<html>");
        assert!(translated(b"data: {\"say\"\n\n", 9).unwrap_err().message.contains("no JSON"));
        let limits = Limits { body_bytes: 10, ..Limits::default() };
        let mut small = Translation::new(Arc::new(Own), &limits);
        assert!(small.push(b"{\"say\":\"abcdef\"}").unwrap_err().message.contains("10 bytes"));
    }
}
