//! [`Pool`]: several LLMs as one. Replicas share the load, fallbacks stand in when all replicas fail.
//!
//! A call goes to the member with the fewest calls under way for its weight; a conversation that goes on goes back to
//! the member that holds its beginning in a cache. If a member fails before the first token in a way that another may
//! not, the next one is asked at once. Members that fail again and again are left alone for a while.

mod affinity;
mod breaker;
mod call;
pub(crate) mod config;
mod member;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use loom_wire::{ErrorKind, LlmError, Request};

use crate::endpoint::{Retries, Timeout};
use crate::model::llm::{EventStream, Llm};
use affinity::Affinity;
use breaker::Rule;
use call::PoolCall;
use member::Member;
pub use member::{MemberState, MemberStatus};

/// The kinds of failure that another member is asked about, if nothing else is set.
pub const FAILOVER_KINDS: [ErrorKind; 10] = [
    ErrorKind::Connection,
    ErrorKind::Timeout,
    ErrorKind::Auth,
    ErrorKind::Permission,
    ErrorKind::NotFound,
    ErrorKind::RateLimit,
    ErrorKind::Quota,
    ErrorKind::Overloaded,
    ErrorKind::Server,
    ErrorKind::StreamInterrupted,
];

/// Several LLMs as one. Cheap to clone; clones share what they know of their members.
///
/// ```
/// let replica = |port: u16| {
///     loom::UnifiedLlm::builder().base_url(format!("http://localhost:{port}/v1")).model("Qwen/Qwen2-7B-Instruct").build()
/// };
/// let pool = loom::Pool::builder().replica(replica(8000)?).replica(replica(8001)?).fallback(replica(8002)?).build()?;
/// let agent = loom::agent("assistant").llm(pool).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

pub(crate) struct Inner {
    members: Vec<Arc<Member>>,
    /// `None`: conversations go wherever there is room.
    affinity: Option<Mutex<Affinity>>,
    failover: Vec<ErrorKind>,
    retries: Retries,
    /// The limit on a whole call.
    timeout: Option<Duration>,
    /// Moves on with each call, so that members with equal load take turns.
    turn: std::sync::atomic::AtomicUsize,
}

/// What a [`Pool`] is made of.
#[must_use]
pub struct PoolBuilder {
    members: Vec<PoolMember>,
    sticky: bool,
    failover: Vec<ErrorKind>,
    max_retries: u32,
    max_failures: u32,
    cooldown: Duration,
    timeout: Option<Duration>,
}

/// An LLM in a pool, with what the pool shall know of it.
#[must_use]
pub struct PoolMember {
    name: Option<String>,
    llm: Arc<dyn Llm>,
    weight: f64,
    is_fallback: bool,
    context_window: Option<u64>,
}

impl PoolMember {
    /// A replica of weight 1.
    pub fn new(llm: impl Llm + 'static) -> Self {
        Self { name: None, llm: Arc::new(llm), weight: 1.0, is_fallback: false, context_window: None }
    }

    /// The name that errors, the ledger and [`Pool::members`] show. Default: its place and its model.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How much of the load it takes, against the other members' weights. Default 1.
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// It is asked only when all replicas have failed or are left alone. Fallbacks are asked in their order.
    pub fn fallback(mut self) -> Self {
        self.is_fallback = true;
        self
    }

    /// The model's context in tokens: a prompt that is too long for one member goes to one whose context is larger.
    pub fn context_window(mut self, tokens: u64) -> Self {
        self.context_window = Some(tokens);
        self
    }
}

impl Pool {
    /// A pool without members.
    pub fn builder() -> PoolBuilder {
        PoolBuilder {
            members: Vec::new(),
            sticky: true,
            failover: FAILOVER_KINDS.to_vec(),
            max_retries: Retries::default().max,
            max_failures: 3,
            cooldown: Duration::from_secs(5),
            timeout: Timeout::default().total,
        }
    }

    /// How the members are doing, in their order.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.0.members.iter().map(|member| member.status()).collect()
    }
}

impl PoolBuilder {
    /// Adds a replica of weight 1.
    pub fn replica(self, llm: impl Llm + 'static) -> Self {
        self.member(PoolMember::new(llm))
    }

    /// Adds an LLM that is asked only when all replicas have failed or are left alone.
    pub fn fallback(self, llm: impl Llm + 'static) -> Self {
        self.member(PoolMember::new(llm).fallback())
    }

    /// Adds a member.
    pub fn member(mut self, member: PoolMember) -> Self {
        self.members.push(member);
        self
    }

    /// Whether a conversation goes back to the member that answered it before, unless that one has far more to do than
    /// another. Default true.
    pub fn sticky(mut self, sticky: bool) -> Self {
        self.sticky = sticky;
        self
    }

    /// The kinds of failure on which another member is asked. Default [`FAILOVER_KINDS`]. `context_length` always leads
    /// to a member with a larger [`PoolMember::context_window`], if there is one, `config` never to another.
    pub fn failover_on(mut self, kinds: impl IntoIterator<Item = ErrorKind>) -> Self {
        self.failover = kinds.into_iter().collect();
        self
    }

    /// How often all members are asked once more when each has failed, after a wait as for a single endpoint. The
    /// members' own `max_retries` do not count in a pool. Default 2.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// After so many failures in a row a member is left alone. Default 3.
    pub fn max_failures(mut self, failures: u32) -> Self {
        self.max_failures = failures;
        self
    }

    /// How long a member that fails is left alone before one call tries it again; doubled up to 300 s while that fails.
    /// Default 5 s.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// The limit on a whole call: all members that are asked, their queues and the waits between them. The members' own
    /// clocks each hold for one try of theirs. `None`: no limit. Default 600 s.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Makes the pool. No network is used.
    ///
    /// # Errors
    /// `config` if there is no replica, a weight is not above 0, or two members share a name.
    pub fn build(self) -> Result<Pool, LlmError> {
        if self.members.iter().all(|member| member.is_fallback) {
            return Err(LlmError::config("a pool needs at least one replica that is no fallback"));
        }
        if self.max_failures == 0 {
            return Err(LlmError::config("max_failures is a number of failures from 1, not 0"));
        }
        if self.timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(LlmError::config("the timeout of a pool is a length of time above 0"));
        }
        let rule = Rule { failures: self.max_failures, cooldown: self.cooldown };
        let mut members: Vec<Arc<Member>> = Vec::new();
        let mut fallbacks = 0;
        for (place, given) in self.members.into_iter().enumerate() {
            fallbacks += usize::from(given.is_fallback);
            let tier = if given.is_fallback { fallbacks } else { 0 };
            let name = given.name.unwrap_or_else(|| {
                format!("#{} {}", place + 1, given.llm.model_name()).trim_end().to_owned()
            });
            if !(given.weight > 0.0 && given.weight.is_finite()) {
                return Err(LlmError::config(format!(
                    "the weight of {name} is a number above 0, not {}",
                    given.weight
                )));
            }
            if members.iter().any(|member| member.name == name) {
                return Err(LlmError::config(format!("two members of the pool are called {name:?}"))
                    .with_hint("give each a name of its own"));
            }
            members.push(Arc::new(Member::new(
                name,
                given.llm,
                given.weight,
                tier,
                given.context_window,
                rule,
            )));
        }
        Ok(Pool(Arc::new(Inner {
            members,
            affinity: self.sticky.then(Mutex::default),
            failover: self.failover,
            retries: Retries { max: self.max_retries },
            timeout: self.timeout,
            turn: Default::default(),
        })))
    }
}

impl Llm for Pool {
    /// The first replica's.
    fn model_name(&self) -> String {
        self.0.members.first().map(|member| member.llm.model_name()).unwrap_or_default()
    }

    fn stream(&self, request: Request) -> EventStream {
        events(PoolCall::new(Arc::clone(&self.0), request, self.0.retries))
    }

    fn stream_once(&self, request: Request) -> EventStream {
        events(PoolCall::new(Arc::clone(&self.0), request, Retries { max: 0 }))
    }

    fn expected_wait(&self) -> Duration {
        self.0.members.iter().map(|member| member.llm.expected_wait()).min().unwrap_or_default()
    }

    /// The longest of the members'.
    fn loading_limit(&self) -> Option<Duration> {
        let longest = |a: Option<Duration>, b: Option<Duration>| Some(a?.max(b?));
        self.0.members.iter().map(|member| member.llm.loading_limit()).fold(Some(Duration::ZERO), longest)
    }

    /// The largest: what is too long for one goes to that.
    fn context_window(&self) -> Option<u64> {
        let windows: Option<Vec<u64>> = self
            .0
            .members
            .iter()
            .map(|member| member.context_window.or_else(|| member.llm.context_window()))
            .collect();
        windows?.into_iter().max()
    }

    fn is_strict(&self) -> bool {
        self.0.members.iter().any(|member| member.llm.is_strict())
    }
}

fn events(call: PoolCall) -> EventStream {
    Box::pin(stream::unfold(call, |mut call| async move { call.next().await.map(|event| (event, call)) }))
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.members.iter().map(|member| &member.name)).finish()
    }
}
