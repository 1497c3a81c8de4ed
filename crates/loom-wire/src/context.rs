//! The numbers of a context overflow: what the model can hold and what was asked for, from a server's fields or sentence.

use serde_json::Value;

/// What a refusal says about the context, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// What the model can hold.
    pub(crate) limit: Option<u64>,
    /// What the request comes to: the prompt, and the answer's limit where the server counts that in.
    pub(crate) requested: Option<u64>,
}

impl Overflow {
    pub(crate) fn or(self, other: Self) -> Self {
        Self { limit: self.limit.or(other.limit), requested: self.requested.or(other.requested) }
    }
}

/// Sentences in lower case: `{l}` is the limit, `{r}` what was requested; several `{r}` are parts of a sum. The first that
/// names a number counts for it.
const SENTENCES: &[&str] = &[
    // vLLM, newest first.
    "for a total of at least {r} tokens",
    "is too large: {r}. this model's maximum context length is {l} tokens and your request has {r} input tokens",
    "(length {r}) is longer than the maximum model length of {l}",
    // OpenAI, older vLLM, FastChat, llama-cpp-python, OpenRouter; SGLang.
    "you requested {r} tokens",
    "you requested about {r} tokens",
    "you requested a total of {r} tokens",
    "your messages resulted in {r} tokens",
    "maximum context length is {l} tokens",
    "maximum context length of {l} tokens",
    "configured limit of {l} tokens",
    // SGLang.
    "the input ({r} tokens) is longer than the model's context length ({l} tokens)",
    // vLLM and SGLang behind NVIDIA NIM.
    "input length ({r}) exceeds model's maximum context length ({l})",
    "input length {r} exceeds the maximum allowed input length of {l}",
    // llama.cpp.
    "request ({r} tokens) exceeds the available context size ({l} tokens)",
    // LMDeploy.
    "input length ({r}) must be smaller than the model context length ({l})",
    // TGI.
    "must be <= {l}. given: {r} `inputs` tokens and {r} `max_new_tokens`",
    // LM Studio.
    "keep the first {r} tokens",
    "context length of only {l} tokens",
    // Docker Model Runner.
    "prompt has {r} tokens, but the configured context size is {l} tokens",
    // Kimi.
    "exceeded model token limit: {l} (requested: {r})",
    "exceeded model token limit: {l}",
    "exceeded model token limit : {l}",
    // Mistral.
    "prompt contains {r} tokens",
    "too large for model with {l} maximum context length",
    // Fireworks.
    "prompt is too long: {r}, model maximum context length: {l}",
    // Anthropic.
    "prompt is too long: {r} tokens > {l} maximum",
    // Gemini.
    "input token count ({r}) exceeds the maximum number of tokens allowed ({l})",
    "input token count is {r} but model only supports up to {l}",
    // xAI.
    "maximum prompt length is {l} but the request contains {r} tokens",
    // GitHub Copilot.
    "prompt token count of {r} exceeds the limit of {l}",
    // Qwen.
    "range of input length should be [1, {l}]",
];

/// The numbers that an error's fields name: llama.cpp.
pub(crate) fn in_fields(error: &Value) -> Overflow {
    let number = |key: &str| error.get(key).and_then(Value::as_u64);
    Overflow { limit: number("n_ctx"), requested: number("n_prompt_tokens") }
}

/// The numbers that a sentence names.
pub(crate) fn in_text(message: &str) -> Overflow {
    let said = message.to_ascii_lowercase();
    let mut found = Overflow::default();
    for sentence in SENTENCES {
        found = found.or(fit(sentence, &said).unwrap_or_default());
    }
    found
}

/// The numbers at the places of a sentence, wherever in a text it stands.
fn fit(sentence: &str, said: &str) -> Option<Overflow> {
    let lead = sentence.split('{').next()?;
    said.match_indices(lead).find_map(|(at, _)| {
        let (mut pattern, mut text, mut found) = (sentence, said.get(at..)?, Overflow::default());
        while let Some((literal, place)) = pattern.split_once('{') {
            let (name, after) = place.split_once('}')?;
            let (number, rest) = leading_number(text.strip_prefix(literal)?)?;
            match name {
                "l" => found.limit = Some(number),
                _ => found.requested = Some(found.requested.unwrap_or(0).saturating_add(number)),
            }
            (pattern, text) = (after, rest);
        }
        text.starts_with(pattern).then_some(found)
    })
}

/// A number that a text begins with, be it written 131,072, and what follows.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let mut end = 0;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let grouped = byte == b',' && end > 0 && bytes.peek().is_some_and(u8::is_ascii_digit);
        if !byte.is_ascii_digit() && !grouped {
            break;
        }
        end += 1;
    }
    let (number, rest) = text.split_at(end);
    Some((number.replace(',', "").parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_gives_its_numbers() {
        for sentence in SENTENCES {
            let said = format!("Error: {}.", sentence.replace("{l}", "4,096").replace("{r}", "5000"));
            let found = in_text(&said);
            let sum = 5000 * sentence.matches("{r}").count() as u64;
            assert_eq!(found.limit, sentence.contains("{l}").then_some(4096), "{said}");
            assert_eq!(found.requested, (sum > 0).then_some(sum), "{said}");
        }
    }

    #[test]
    fn what_only_resembles_one_gives_none() {
        for text in ["maximum context length is unknown", "you requested 512 output tokens", "(tokens)", ""] {
            assert_eq!(in_text(text), Overflow::default(), "{text}");
        }
        assert_eq!(in_text("maximum context length is 99999999999999999999999 tokens"), Overflow::default());
    }
}
