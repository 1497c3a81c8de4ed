//! One call to a pool: choose a member, ask it, and ask another if it fails before the first token.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use loom_wire::{Completion, ErrorKind, Event, LedgerEntry, LlmError, Request, Retry, Rule};
use tokio::time::{Instant, Sleep};

use crate::endpoint::{Clocks, Retries, Timeout};
use crate::model::llm::{EventStream, unfinished};
use crate::model::pool::Inner;
use crate::model::pool::affinity::Conversation;
use crate::model::pool::breaker::Circuit;
use crate::model::pool::member::{Member, Turn};

/// A conversation leaves its member only for one with less than half of its load.
const STICKINESS: f64 = 2.0;

/// While a member loads its model and no other answers, all are asked again so often. It is no failure.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

pub(crate) struct PoolCall {
    pool: Arc<Inner>,
    request: Request,
    conversation: Option<Conversation>,
    state: State,
    /// The members that failed in this round, with their places.
    failed: Vec<(usize, LlmError)>,
    /// Why each member that was asked did not answer, for the ledger.
    history: Vec<String>,
    retries: Retries,
    /// The limit on the call, once it has started.
    clocks: Option<Clocks>,
    /// Of that clock.
    timer: Option<Pin<Box<Sleep>>>,
    /// What has arrived of the answer.
    partial: Completion,
    /// How often every member has been asked.
    rounds: u32,
    /// When the first round ended in which a member was loading its model.
    loading_since: Option<Instant>,
    /// What failed in the round before.
    last_round: Vec<(usize, LlmError)>,
    /// Requests sent by the members that failed.
    attempts: u32,
    /// A failure that is told as soon as it is known when the next member is asked.
    untold: Option<Retry>,
    /// The failures that were told.
    told: Vec<Retry>,
}

enum State {
    Choosing,
    /// All have failed; the next round begins after this.
    Waiting(Duration),
    Asking(usize, Arc<Member>),
    Reading {
        turn: Turn,
        place: usize,
        events: EventStream,
        has_token: bool,
        finished: bool,
    },
    Over,
}

impl PoolCall {
    pub(crate) fn new(pool: Arc<Inner>, request: Request, retries: Retries) -> Self {
        let conversation = pool.affinity.as_ref().and_then(|_| Conversation::of(&request));
        Self {
            pool,
            request,
            conversation,
            state: State::Choosing,
            failed: Vec::new(),
            history: Vec::new(),
            retries,
            clocks: None,
            timer: None,
            partial: Completion::default(),
            rounds: 0,
            loading_since: None,
            last_round: Vec::new(),
            attempts: 0,
            untold: None,
            told: Vec::new(),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Event, LlmError>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return None,
                State::Choosing => {
                    let wait = match self.choose() {
                        Some((place, member)) => {
                            self.state = State::Asking(place, member);
                            Duration::ZERO
                        }
                        None => match self.wait_for_another_round() {
                            Some(wait) => {
                                self.state = State::Waiting(wait);
                                wait
                            }
                            None => return Some(Err(self.exhausted())),
                        },
                    };
                    if let Some(retry) = self.untold.take() {
                        let retry = Retry { wait: wait.as_secs_f64(), ..retry };
                        self.told.push(retry.clone());
                        return Some(Ok(Event::Retry(retry)));
                    }
                }
                State::Waiting(wait) => {
                    tokio::time::sleep(wait).await;
                    if !self.failed.is_empty() {
                        self.last_round = std::mem::take(&mut self.failed);
                    }
                    self.state = State::Choosing;
                }
                State::Asking(place, member) => {
                    let turn = Turn::start(member);
                    let events = turn.member.llm.stream_once(self.request.clone());
                    self.state = State::Reading { turn, place, events, has_token: false, finished: false };
                }
                State::Reading { mut turn, place, mut events, has_token, finished } => {
                    let next = match self.within_the_limit(events.next()).await {
                        Ok(None) if finished => return None,
                        Ok(None) => Err(unfinished(std::mem::take(&mut self.partial))),
                        Ok(Some(next)) => next,
                        Err(over) => {
                            turn.failed(&over);
                            return Some(Err(self.out_of_time(over, &turn.member)));
                        }
                    };
                    match next {
                        Ok(mut event) => {
                            self.partial.absorb(&event);
                            let mut finished = false;
                            if let Event::Finish(finish) = &mut event {
                                finished = true;
                                turn.succeeded();
                                self.remember(place);
                                finish.ledger.extend(
                                    self.history
                                        .drain(..)
                                        .map(|detail| LedgerEntry::new(Rule::FailedOver, detail)),
                                );
                            }
                            // What is reported of a member's own retries is no token.
                            let has_token = has_token || !matches!(event, Event::Retry(_));
                            self.state = State::Reading { turn, place, events, has_token, finished };
                            return Some(Ok(event));
                        }
                        Err(mut error) => {
                            turn.failed(&error);
                            self.attempts += error.attempts.max(1);
                            if has_token || !self.others_may_cure(&error, &turn.member) {
                                error.retries.splice(..0, self.told.drain(..));
                                return Some(Err(error));
                            }
                            self.untold = Some(failure(&error, &turn.member.name, self.attempts));
                            let detail = format!("{}: {}: {}", turn.member.name, error.kind, error.message);
                            // Not the message: servers quote the prompt.
                            tracing::warn!(
                                target: "loom",
                                status = error.status_code,
                                "{}: {}; asking another member of the pool",
                                turn.member.name,
                                error.kind
                            );
                            // A loading model says the same each time.
                            if !self.history.contains(&detail) {
                                self.history.push(detail);
                            }
                            self.failed.push((place, error));
                            self.state = State::Choosing;
                        }
                    }
                }
            }
        }
    }

    async fn within_the_limit<T>(&mut self, future: impl Future<Output = T>) -> Result<T, LlmError> {
        self.clocks().wait_again(&mut self.timer, future).await
    }

    /// They start when the call is first polled.
    fn clocks(&mut self) -> Clocks {
        let timeout =
            Timeout { connect: None, first_token: None, idle: None, loading: None, total: self.pool.timeout };
        *self.clocks.get_or_insert_with(|| Clocks::start(timeout))
    }

    /// The call's time is over while this member is asked.
    fn out_of_time(&mut self, mut error: LlmError, member: &Member) -> LlmError {
        let asked = match self.partial.content.chars().count() {
            0 => format!("{} had not answered", member.name),
            said => format!("{said} characters of the answer of {} had arrived", member.name),
        };
        let before = self.history.iter().map(String::as_str);
        let all: Vec<&str> = before.chain([asked.as_str()]).collect();
        error.message = format!("{}: {}", error.message, all.join("; "));
        error.attempts = self.attempts + 1;
        error.retries = std::mem::take(&mut self.told);
        if self.partial == Completion::default() {
            return error;
        }
        error.with_partial(std::mem::take(&mut self.partial))
    }

    /// Whether another member may answer what this one did not.
    fn others_may_cure(&self, error: &LlmError, member: &Member) -> bool {
        match error.kind {
            ErrorKind::Config => false,
            ErrorKind::ContextLength => {
                self.pool.members.iter().any(|other| other.context_window > member.context_window)
            }
            kind => self.pool.failover.contains(&kind),
        }
    }

    /// The member to ask next: of those not asked in this round, in the first tier that has one to ask.
    fn choose(&self) -> Option<(usize, Arc<Member>)> {
        let now = Instant::now();
        let needed = self.context_needed();
        let untried: Vec<(usize, &Arc<Member>)> = self
            .pool
            .members
            .iter()
            .enumerate()
            .filter(|(place, _)| !self.failed.iter().any(|(failed, _)| failed == place))
            .filter(|(_, member)| needed.is_none_or(|needed| member.context_window > Some(needed)))
            .collect();
        let asked = |member: &Member| matches!(member.circuit(now), Circuit::Closed | Circuit::HalfOpen);
        let tier = untried.iter().filter(|(_, member)| asked(member)).map(|(_, member)| member.tier).min();
        let Some(tier) = tier else {
            // All are left alone. A call that nobody has answered yet is tried where the time is over first: a pool
            // must not refuse what its members might answer.
            let soonest = untried.into_iter().min_by_key(|(_, member)| match member.circuit(now) {
                Circuit::Open(until) => until,
                _ => now,
            });
            return soonest
                .filter(|_| self.history.is_empty())
                .map(|(place, member)| (place, Arc::clone(member)));
        };
        let mut best: Vec<(usize, &Arc<Member>)> =
            untried.into_iter().filter(|(_, member)| member.tier == tier && asked(member)).collect();
        // Who waits least, then who has least to do; equals take turns.
        let turn = self.pool.turn.fetch_add(1, Ordering::Relaxed);
        let count = best.len().max(1);
        best.rotate_left(turn % count);
        let cost = |member: &Member| (member.llm.expected_wait(), member.load());
        let least = best.iter().copied().min_by(|(_, a), (_, b)| {
            let (a, b) = (cost(a), cost(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        })?;
        let chosen = match self.own_member(&best) {
            Some(own) if own.1.load() <= least.1.load() * STICKINESS && cost(own.1).0 <= cost(least.1).0 => {
                own
            }
            _ => least,
        };
        Some((chosen.0, Arc::clone(chosen.1)))
    }

    /// Among these the one that answered this conversation before.
    fn own_member<'a>(&self, among: &[(usize, &'a Arc<Member>)]) -> Option<(usize, &'a Arc<Member>)> {
        let affinity = self.pool.affinity.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let place = affinity.member(self.conversation?)?;
        among.iter().copied().find(|(candidate, _)| *candidate == place)
    }

    fn remember(&self, place: usize) {
        if let (Some(affinity), Some(conversation)) = (&self.pool.affinity, self.conversation) {
            affinity.lock().unwrap_or_else(PoisonError::into_inner).remember(conversation, place);
        }
    }

    /// The largest context that was too small in this call.
    fn context_needed(&self) -> Option<u64> {
        let too_small = self.failed.iter().filter(|(_, error)| error.kind == ErrorKind::ContextLength);
        too_small
            .filter_map(|(place, _)| self.pool.members.get(*place))
            .map(|member| member.context_window.unwrap_or(0))
            .max()
    }

    /// How long to wait before all members are asked once more: as long as the one that is ready first demands.
    fn wait_for_another_round(&mut self) -> Option<Duration> {
        let left = self.clocks().left();
        let in_time = |wait: &Duration| left.is_none_or(|left| *wait < left);
        let loading = self.failed.iter().filter(|(_, error)| error.is_loading());
        let limits: Vec<_> = loading
            .filter_map(|(place, _)| self.pool.members.get(*place))
            .map(|member| member.llm.loading_limit())
            .collect();
        if self.retries.max > 0 && !limits.is_empty() {
            let waited = self.loading_since.get_or_insert_with(Instant::now).elapsed();
            let left = limits
                .into_iter()
                .map(|limit| limit.map_or(BETWEEN_LOOKS, |limit| limit.saturating_sub(waited)));
            return left
                .max()
                .filter(|left| !left.is_zero())
                .map(|left| left.min(BETWEEN_LOOKS))
                .filter(in_time);
        }
        self.rounds += 1;
        let waits = self.failures().iter().filter_map(|(_, error)| self.retries.wait(error, self.rounds));
        waits.min().filter(in_time)
    }

    /// What has failed in this round, or in the one before if all have been left alone since.
    fn failures(&self) -> &[(usize, LlmError)] {
        if self.failed.is_empty() { &self.last_round } else { &self.failed }
    }

    /// The last failure, with what the others said.
    fn exhausted(&mut self) -> LlmError {
        let Some((_, mut error)) = self.failures().last().cloned() else {
            return LlmError::new(
                ErrorKind::Overloaded,
                "every member of the pool is left alone after failures",
            );
        };
        if self.history.len() > 1 {
            error.message = format!("no member of the pool answered: {}", self.history.join("; "));
        }
        error.attempts = self.attempts;
        error.retries = std::mem::take(&mut self.told);
        error
    }
}

/// A member's failure as it is told; how long the next try is waited for is not known yet.
fn failure(error: &LlmError, member: &str, attempt: u32) -> Retry {
    Retry {
        attempt,
        reason: if error.is_loading() { "loading" } else { error.kind.as_str() }.to_owned(),
        message: format!("{member}: {}", error.message),
        status_code: error.status_code,
        wait: 0.0,
    }
}
