//! What an LLM keeps about its calls: each leniency of its life, bounded, and how the last call went.

use std::sync::{Mutex, MutexGuard, PoisonError};

use loom_wire::LedgerEntry;

/// The most entries that are kept of one rule: the details of a rule (ids, names) may all differ.
const MAX_PER_RULE: usize = 16;

/// The record of an LLM; its clones share it.
#[derive(Debug, Default)]
pub(crate) struct Record {
    ledger: Mutex<Vec<LedgerEntry>>,
    last: Mutex<LastCall>,
}

/// How the call that ended last went.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastCall {
    pub(crate) attempts: u32,
    pub(crate) request_id: Option<String>,
    pub(crate) ledger: Vec<LedgerEntry>,
}

impl Record {
    /// A call has ended.
    pub(crate) fn ended(&self, call: LastCall) {
        self.add(&call.ledger);
        *lock(&self.last) = call;
    }

    /// How the call that ended last went.
    pub(crate) fn last(&self) -> LastCall {
        lock(&self.last).clone()
    }

    /// Adds what one call bridged. Of a rule with many details the newest are kept.
    fn add(&self, entries: &[LedgerEntry]) {
        if entries.is_empty() {
            return;
        }
        let mut kept = lock(&self.ledger);
        for entry in entries {
            if let Some(known) = kept.iter_mut().find(|known| known.says_the_same(entry)) {
                known.count = known.count.saturating_add(entry.count);
                continue;
            }
            let of_the_rule = kept.iter().filter(|known| known.rule == entry.rule).count();
            if of_the_rule >= MAX_PER_RULE
                && let Some(oldest) = kept.iter().position(|known| known.rule == entry.rule)
            {
                kept.remove(oldest);
            }
            // An event's number says nothing outside its own stream.
            kept.push(LedgerEntry { event: None, ..entry.clone() });
        }
    }

    /// All that was bridged so far.
    pub(crate) fn ledger(&self) -> Vec<LedgerEntry> {
        lock(&self.ledger).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use loom_wire::Rule;

    #[test]
    fn it_counts_and_is_bounded() {
        let record = Record::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let record = &record;
                scope.spawn(move || {
                    for call in 0..100 {
                        let id = LedgerEntry::new(Rule::ToolCallIdMade, format!("call_{thread}_{call}"));
                        record.add(&[LedgerEntry::new(Rule::MissingDone, ""), id]);
                    }
                });
            }
        });
        let counts: HashMap<Rule, u64> = record.ledger().iter().fold(HashMap::new(), |mut counts, entry| {
            *counts.entry(entry.rule).or_default() += entry.count;
            counts
        });
        assert_eq!(counts[&Rule::MissingDone], 400);
        assert_eq!(counts[&Rule::ToolCallIdMade], MAX_PER_RULE as u64);
    }
}
