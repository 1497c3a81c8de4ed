//! A pool as `loom.toml` names it.
//!
//! ```toml
//! [pools.office]
//! members = ["gpu-a", { endpoint = "gpu-b", weight = 2 }]     # names under [endpoints]
//! fallbacks = [{ endpoint = "cloud", context_window = 128000 }]
//! sticky = true
//! failover_on = ["connection", "overloaded", "server"]
//! max_retries = 2
//! max_failures = 3
//! cooldown = 5.0                                              # seconds
//! timeout = 120.0                                             # seconds, the whole call
//! ```

use std::time::Duration;

use loom_wire::{ErrorKind, LlmError};
use serde::Deserialize;

use crate::endpoint::Timeout;
use crate::model::pool::{Pool, PoolMember};
use crate::model::settings::LlmSettings;

/// A named pool.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolConfig {
    members: Vec<MemberConfig>,
    #[serde(default)]
    fallbacks: Vec<MemberConfig>,
    sticky: Option<bool>,
    failover_on: Option<Vec<ErrorKind>>,
    max_retries: Option<u32>,
    max_failures: Option<u32>,
    cooldown: Option<f64>,
    timeout: Option<f64>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "a member is the name of an endpoint, or { endpoint = \"…\", weight = 2 }")]
enum MemberConfig {
    Name(String),
    Table(MemberTable),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    endpoint: String,
    weight: Option<f64>,
    context_window: Option<u64>,
}

impl PoolConfig {
    /// The pool, its members made from `settings` and their endpoints.
    pub(crate) fn build(&self, settings: &LlmSettings) -> Result<Pool, LlmError> {
        if let Some(setting) = settings.names_a_place() {
            return Err(LlmError::config(format!("{setting} cannot be given beside a pool"))
                .with_hint("each member has its own: set it under [endpoints] in loom.toml"));
        }
        // A caller who names the total alone speaks of the whole call; the members keep their clocks.
        let mut settings = settings.clone();
        let total = settings.timeout.map(|given| given.total);
        if settings.timeout.is_some_and(|given| given == Timeout { total: given.total, ..Timeout::default() })
        {
            settings.timeout = None;
        }
        let mut pool = Pool::builder();
        let members = self.members.iter().map(|member| (member, false));
        for (member, is_fallback) in members.chain(self.fallbacks.iter().map(|member| (member, true))) {
            let member = member.table();
            let llm = settings.clone().endpoint(&member.endpoint).build()?;
            let mut made = PoolMember::new(llm).name(member.endpoint).weight(member.weight.unwrap_or(1.0));
            if let Some(tokens) = member.context_window {
                made = made.context_window(tokens);
            }
            pool = pool.member(if is_fallback { made.fallback() } else { made });
        }
        if let Some(sticky) = self.sticky {
            pool = pool.sticky(sticky);
        }
        if let Some(kinds) = &self.failover_on {
            pool = pool.failover_on(kinds.iter().copied());
        }
        if let Some(retries) = settings.max_retries.or(self.max_retries) {
            pool = pool.max_retries(retries);
        }
        if let Some(failures) = self.max_failures {
            pool = pool.max_failures(failures);
        }
        if let Some(seconds) = self.cooldown {
            pool = pool.cooldown(duration("cooldown", seconds)?);
        }
        if let Some(total) = total {
            pool = pool.timeout(total);
        } else if let Some(seconds) = self.timeout {
            pool = pool.timeout(duration("timeout", seconds)?);
        }
        pool.build()
    }
}

fn duration(name: &str, seconds: f64) -> Result<Duration, LlmError> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| LlmError::config(format!("{name} = {seconds} is not a number of seconds")))
}

impl MemberConfig {
    fn table(&self) -> MemberTable {
        match self {
            Self::Name(name) => MemberTable { endpoint: name.clone(), weight: None, context_window: None },
            Self::Table(table) => table.clone(),
        }
    }
}
