//! Credentials: a key, where it comes from, and how it is shown to the endpoint, and to nobody else.
//!
//! [`Auth`] says how a key is shown, [`Key`] where it comes from. Any goes with any. A key that was yielded is kept
//! until it expires; a refusal (401) makes it be asked for once more; of several keys the next one is taken.

mod auth;
mod command;
mod key;
mod oauth2;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use loom_wire::{ErrorKind, LlmError};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

pub use auth::Auth;
pub(super) use auth::Shown;
pub use key::{CallbackError, Key, Token};
pub use oauth2::OAuth2;

use super::clocks::Clocks;
use super::exit::Exit;
use super::secrets::Secrets;
use key::{Source, no_key};

/// A token is renewed this long before it expires, or a tenth of its time before, whichever is shorter: it must still
/// hold when the request arrives.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a key of several is not used after it was refused for good (401, 403, quota).
const REST: Duration = Duration::from_secs(600);
/// How long after a rate limit that does not say when it ends.
const SHORT_REST: Duration = Duration::from_secs(20);

/// The keys of an endpoint and the way they are shown. Cannot be printed.
pub(super) struct Credential {
    auth: Auth,
    slots: Vec<Slot>,
    /// The slot in use.
    current: AtomicUsize,
}

/// One key of several, or the only one.
struct Slot {
    source: Source,
    /// A fixed key as requests carry it.
    fixed: Option<Shown>,
    kept: Mutex<Kept>,
    /// The function gives no expiry: it is asked each time, by all callers at once.
    ask_always: AtomicBool,
    rests_until: SyncMutex<Option<Instant>>,
}

/// A token that was yielded.
#[derive(Default)]
struct Kept {
    shown: Option<Shown>,
    /// Counts the tokens, so that many callers who were refused with one of them ask for one new token.
    generation: u64,
    /// When to ask for another; `None`: when it is refused.
    until: Option<Instant>,
}

/// What one request may show.
pub(super) struct Grant {
    pub(super) shown: Option<Shown>,
    slot: usize,
    generation: u64,
}

impl Credential {
    pub(super) fn new(auth: Auth, key: Option<Key>) -> Result<Self, LlmError> {
        auth.check()?;
        let sources = match (&auth, key) {
            (Auth::None, _) | (_, None) => Vec::new(),
            (_, Some(key)) => key.sources(),
        };
        let slots = sources.into_iter().map(|source| Slot::new(source, &auth)).collect::<Result<_, _>>()?;
        Ok(Self { auth, slots, current: AtomicUsize::new(0) })
    }

    /// Whether no key is ever sent.
    pub(super) fn is_none(&self) -> bool {
        self.slots.is_empty()
    }

    /// The user of basic authentication, for the curl command; `""` where the key names him.
    pub(super) fn basic_user(&self) -> Option<String> {
        match &self.auth {
            Auth::Basic { user } if !self.is_none() => Some(user.clone().unwrap_or_default()),
            _ => None,
        }
    }

    /// What errors must not show, as far as it is known before the first request.
    pub(super) fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for slot in &self.slots {
            match &slot.source {
                Source::Fixed(key) => {
                    found.push(key.expose_secret().to_owned());
                    found.extend(self.auth.traces(key.expose_secret()));
                }
                Source::OAuth2(client) => found.push(client.secret().expose_secret().to_owned()),
                _ => {}
            }
        }
        found
    }

    /// The key for the next request; it is asked for if there is none that holds.
    pub(super) async fn grant(
        &self,
        exit: &Exit,
        secrets: &Secrets,
        clocks: &Clocks,
    ) -> Result<Grant, LlmError> {
        let index = self.pick();
        let Some(slot) = self.slots.get(index) else {
            return Ok(Grant { shown: None, slot: 0, generation: 0 });
        };
        if let Some(shown) = &slot.fixed {
            return Ok(Grant { shown: Some(shown.clone()), slot: index, generation: 0 });
        }
        if slot.ask_always.load(Ordering::Relaxed) {
            let shown = Box::pin(self.ask(slot, exit, secrets, clocks)).await?.0;
            return Ok(Grant { shown, slot: index, generation: 0 });
        }
        // Whoever comes while a token is asked for waits for that one. Few ask, and the state of asking is large.
        let mut kept = clocks.wait(slot.kept.lock()).await?;
        if kept.shown.is_none() || kept.until.is_some_and(|until| until <= Instant::now()) {
            let (shown, lifetime) = Box::pin(self.ask(slot, exit, secrets, clocks)).await?;
            kept.generation += 1;
            kept.until = lifetime.and_then(|time| Instant::now().checked_add(time - MARGIN.min(time / 10)));
            if lifetime.is_none() && matches!(slot.source, Source::Call(_)) {
                slot.ask_always.store(true, Ordering::Relaxed);
                return Ok(Grant { shown, slot: index, generation: 0 });
            }
            kept.shown = shown;
        }
        Ok(Grant { shown: kept.shown.clone(), slot: index, generation: kept.generation })
    }

    async fn ask(
        &self,
        slot: &Slot,
        exit: &Exit,
        secrets: &Secrets,
        clocks: &Clocks,
    ) -> Result<(Option<Shown>, Option<Duration>), LlmError> {
        let token = match &slot.source {
            Source::Call(function) => clocks.wait(function()).await?.map_err(|error| {
                // Nothing was sent, and nobody has refused anything.
                LlmError::config(format!("the function that shall yield the API key failed: {error}"))
                    .with_hint("the error is the function's own: mend it there")
            })?,
            Source::Command(command) => clocks.wait(command::run(command)).await??,
            Source::OAuth2(client) => client.token(exit, clocks).await?,
            Source::Fixed(key) => Token { key: key.clone(), expires_in: None },
            Source::Several(_) => return Err(no_key("a list of keys", "holds another")),
        };
        let key = token.key.expose_secret();
        if key.is_empty() {
            return Err(no_key("what shall yield the API key", "yielded an empty one")
                .with_hint("nothing was sent: let it yield a key, or give none at all"));
        }
        secrets.learn(std::iter::once(key.to_owned()).chain(self.auth.traces(key)));
        Ok((self.auth.show(&token.key)?, token.expires_in))
    }

    /// The slot in use, or the next that does not rest; if all do, the one whose rest ends first.
    fn pick(&self) -> usize {
        let count = self.slots.len();
        if count < 2 {
            return 0;
        }
        let (now, current) = (Instant::now(), self.current.load(Ordering::Relaxed));
        let chosen = (current..current + count)
            .map(|index| index % count)
            .min_by_key(|index| self.slots.get(*index).and_then(Slot::rest).filter(|until| *until > now))
            .unwrap_or_default();
        self.current.store(chosen, Ordering::Relaxed);
        chosen
    }

    /// What a refusal means for the key: the words for the ledger if the request is worth repeating at once, with
    /// another key or with a new one. `tried` counts the repetitions so far.
    pub(super) async fn after(&self, grant: &Grant, error: &LlmError, tried: usize) -> Option<String> {
        let slot = self.slots.get(grant.slot)?;
        let status = error.status_code.map_or_else(|| error.kind.to_string(), |status| status.to_string());
        let renewable = !matches!(slot.source, Source::Fixed(_));
        if renewable && tried == 0 && error.kind == ErrorKind::Auth && error.status_code == Some(401) {
            let mut kept = slot.kept.lock().await;
            // Another caller may have renewed it meanwhile.
            if kept.generation == grant.generation {
                kept.shown = None;
            }
            return Some(format!("the endpoint refused the key ({status}): a new one was asked for"));
        }
        let rest = match error.kind {
            ErrorKind::Auth | ErrorKind::Permission | ErrorKind::Quota => REST,
            ErrorKind::RateLimit => error.retry_after.unwrap_or(SHORT_REST),
            _ => return None,
        };
        if self.slots.len() < 2 || tried >= self.slots.len() {
            return None;
        }
        *slot.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(rest);
        let next = self.pick();
        if self.slots.get(next)?.rest().is_some_and(|until| until > Instant::now()) {
            return None;
        }
        Some(format!(
            "key {} of {} was refused ({status}): key {} is used",
            grant.slot + 1,
            self.slots.len(),
            next + 1
        ))
    }
}

impl Slot {
    fn new(source: Source, auth: &Auth) -> Result<Self, LlmError> {
        let fixed = match &source {
            Source::Fixed(key) => auth.show(key)?,
            Source::OAuth2(client) => {
                client.check()?;
                None
            }
            _ => None,
        };
        Ok(Self {
            source,
            fixed,
            kept: Mutex::default(),
            ask_always: AtomicBool::new(false),
            rests_until: SyncMutex::new(None),
        })
    }

    fn rest(&self) -> Option<Instant> {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} keys, {:?})", self.slots.len(), self.auth)
    }
}
