//! Adaptation: a refusal that names a parameter leads to one corrected request, and the lesson is kept.
//!
//! Each row says by which words a refusal is recognised and what it teaches. Lessons are kept for (origin, model) as
//! long as the process lives.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use loom_wire::request::Spelling;
use loom_wire::{ErrorKind, LlmError};

/// What a refusal teaches about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lesson {
    /// `stream_options` is not understood.
    NoStreamUsage,
    /// The token limit is called `max_completion_tokens`.
    MaxCompletionTokens,
    /// The token limit is called `max_tokens`.
    MaxTokens,
}

/// The most lessons that one call may learn: more means that the endpoint cannot be satisfied.
pub(crate) const MAX_LESSONS: usize = 4;

struct Row {
    /// All of these stand in the refusal (its message, `param` and `code`), in lower case.
    words: &'static [&'static str],
    lesson: Lesson,
}

const ROWS: &[Row] = &[
    // Mistral (422 "Extra inputs are not permitted"), older vLLM, gateways.
    Row { words: &["stream_options"], lesson: Lesson::NoStreamUsage },
    Row { words: &["include_usage"], lesson: Lesson::NoStreamUsage },
    // OpenAI's o- and gpt-5 models: "Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead."
    Row { words: &["max_tokens", "max_completion_tokens"], lesson: Lesson::MaxCompletionTokens },
    // Servers that know only the older name.
    Row { words: &["max_completion_tokens"], lesson: Lesson::MaxTokens },
];

impl Lesson {
    /// Changes the spelling; `false` if that changes nothing, so that no lesson is learnt twice.
    pub(crate) fn apply(self, spelling: &mut Spelling) -> bool {
        let before = spelling.clone();
        match self {
            Self::NoStreamUsage => spelling.stream_usage = false,
            Self::MaxCompletionTokens => "max_completion_tokens".clone_into(&mut spelling.max_tokens),
            Self::MaxTokens => "max_tokens".clone_into(&mut spelling.max_tokens),
        }
        *spelling != before
    }

    /// What was done, for the ledger.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::NoStreamUsage => "stream_options left out",
            Self::MaxCompletionTokens => "max_tokens sent as max_completion_tokens",
            Self::MaxTokens => "max_completion_tokens sent as max_tokens",
        }
    }
}

/// What a refusal teaches, if it is one of those that a changed request cures.
pub(crate) fn lesson(error: &LlmError) -> Option<Lesson> {
    if error.kind != ErrorKind::BadRequest {
        return None;
    }
    // Not the body: it may echo the request, and then holds every parameter's name.
    let said = [Some(&error.message), error.param.as_ref(), error.code.as_ref()];
    let said = said.into_iter().flatten().map(|text| text.to_lowercase()).collect::<Vec<_>>().join(" ");
    ROWS.iter().find(|row| row.words.iter().all(|word| said.contains(word))).map(|row| row.lesson)
}

type Place = (String, String);

static LEARNT: LazyLock<RwLock<HashMap<Place, Vec<Lesson>>>> = LazyLock::new(RwLock::default);

/// The lessons that an endpoint has taught for a model.
pub(crate) fn learnt(origin: &str, model: &str) -> Vec<Lesson> {
    let place = (origin.to_owned(), model.to_owned());
    LEARNT.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned().unwrap_or_default()
}

/// Keeps a lesson.
pub(crate) fn keep(origin: &str, model: &str, lesson: Lesson) {
    let mut learnt = LEARNT.write().unwrap_or_else(PoisonError::into_inner);
    let lessons = learnt.entry((origin.to_owned(), model.to_owned())).or_default();
    if !lessons.contains(&lesson) && lessons.len() < 16 {
        lessons.push(lesson);
    }
}
