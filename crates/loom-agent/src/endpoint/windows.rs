//! How many tokens a model's context holds, as the server has said it: in its list of models, which is read when a model
//! is looked for, and in refusals of what was too long. Nothing is asked to find out.
//!
//! Kept for (origin, model) as long as the process lives; what was said last counts.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

static WINDOWS: LazyLock<RwLock<HashMap<(String, String), u64>>> = LazyLock::new(RwLock::default);

/// The most that are kept: some endpoints list thousands of models.
const MOST: usize = 8192;

/// What the model at this origin holds.
pub(super) fn of(origin: &str, model: &str) -> Option<u64> {
    let known = WINDOWS.read().unwrap_or_else(PoisonError::into_inner);
    known.get(&(origin.to_owned(), model.to_owned())).copied()
}

/// Notes what the model at this origin holds.
pub(super) fn learn(origin: &str, model: &str, tokens: u64) {
    let place = (origin.to_owned(), model.to_owned());
    let mut known = WINDOWS.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() < MOST || known.contains_key(&place) {
        known.insert(place, tokens);
    }
}
