//! Habits: what the answers of a model at an endpoint have shown about themselves, so that the next are read better.
//!
//! There is one: a prompt template that opens the thinking itself, so that answers begin in the middle of it (DeepSeek-R1,
//! QwQ and Qwen3-Thinking on servers without a reasoning parser). In a stream that shows only at the closing tag, when what
//! came before is delivered. Kept for (origin, model, the request's thinking switches) as long as the process lives; an
//! answer that shows the contrary ends it.

use std::collections::HashSet;
use std::sync::{LazyLock, PoisonError, RwLock};

use loom_wire::Request;

static BEGIN_THINKING: LazyLock<RwLock<HashSet<String>>> = LazyLock::new(RwLock::default);

/// The parameters that switch thinking on and off; another switch may be another template.
const SWITCHES: [&str; 5] =
    ["chat_template_kwargs", "enable_thinking", "thinking", "reasoning_effort", "reasoning"];

/// The most habits kept: a process that talks to more models has no use for them.
const MOST: usize = 1024;

/// What answers to a request like this are like.
pub(crate) struct Habit {
    place: String,
    begins_thinking: bool,
}

impl Habit {
    /// What is known for the model at this origin.
    pub(crate) fn of(origin: &str, model: &str, request: &Request) -> Self {
        let mut place = String::with_capacity(origin.len() + 1 + model.len());
        place.push_str(origin);
        place.push('\n');
        place.push_str(model);
        for name in SWITCHES {
            if let Some(value) = request.extra_body.get(name).or_else(|| request.params.get(name)) {
                place.push_str(&format!("\n{name}={value}"));
            }
        }
        let known = BEGIN_THINKING.read().unwrap_or_else(PoisonError::into_inner);
        let begins_thinking = known.contains(&place);
        Self { place, begins_thinking }
    }

    /// Whether answers begin in the middle of their thinking.
    pub(crate) fn begins_thinking(&self) -> bool {
        self.begins_thinking
    }

    /// Keeps what an answer showed.
    pub(crate) fn learn(&self, begins_thinking: Option<bool>) {
        let Some(shown) = begins_thinking.filter(|shown| *shown != self.begins_thinking) else { return };
        let mut known = BEGIN_THINKING.write().unwrap_or_else(PoisonError::into_inner);
        if !shown {
            known.remove(&self.place);
        } else if known.len() < MOST {
            known.insert(self.place.clone());
        }
    }
}
