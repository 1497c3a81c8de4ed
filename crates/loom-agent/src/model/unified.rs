//! [`UnifiedLlm`]: the LLM for every endpoint that speaks the OpenAI chat format.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use loom_wire::request::Written;
use loom_wire::{Completion, ErrorKind, LedgerEntry, Limits, LlmError, Request};

use crate::endpoint::{Clocks, Endpoint, Explanation};
use crate::model::adapt::{Adaptation, Leave};
use crate::model::adapter;
use crate::model::adapter::Adapter;
use crate::model::call::Call;
use crate::model::hints::{Asked, explained};
use crate::model::llm::{EventStream, Llm, ServedBy, generate};
use crate::model::notices;
use crate::model::profile;
use crate::model::provider::Provider;
use crate::model::record::{LastCall, Record};
use crate::model::settings::{Defaults, LlmSettings};

/// An LLM behind an OpenAI-compatible endpoint. Cheap to clone; clones share what they have learnt.
///
/// ```
/// let llm = loom::UnifiedLlm::builder()
///     .provider("custom")
///     .base_url("http://localhost:8000/v1")
///     .model("Qwen/Qwen2-7B-Instruct")
///     .temperature(0.7)
///     .build()?;
/// # Ok::<(), loom::LlmError>(())
/// ```
#[derive(Clone)]
pub struct UnifiedLlm(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) provider: Provider,
    /// The endpoint is at the provider's own address, where the provider's spelling is known.
    pub(crate) at_home: bool,
    /// The provider's variables for a key count at this address.
    pub(crate) key_allowed: bool,
    pub(crate) model: Option<String>,
    /// The model found by asking, or the one that replaced a default that the endpoint refused.
    pub(crate) found_model: RwLock<Option<String>>,
    pub(crate) asked: Defaults,
    /// Each leniency is an error.
    pub(crate) strict: bool,
    pub(crate) record: Record,
    /// The conversations that were sent last, for their next turns.
    pub(crate) written: Written,
    pub(crate) reading: Reading,
    /// Of an API that is not OpenAI-like.
    pub(crate) adapter: Option<Arc<dyn Adapter>>,
}

/// How answers are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) limits: Limits,
    /// Thinking and tool calls that stand in the text are taken out of it.
    pub(crate) parse_text: bool,
}

impl UnifiedLlm {
    /// Settings to build one from.
    pub fn builder() -> LlmSettings {
        LlmSettings::default()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The endpoint it talks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// The provider's data.
    pub fn provider(&self) -> &Provider {
        &self.0.provider
    }

    /// Whether the endpoint is at the provider's own address.
    pub fn at_home(&self) -> bool {
        self.0.at_home
    }

    /// What was bridged in all calls of this LLM and its clones: each entry once, with how often; of a rule with many
    /// details the newest.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.0.record.ledger()
    }

    /// The request that was sent last, with the curl command that sends it again, and how the call that ended last went:
    /// the same one, unless calls overlap. `None` before the first. Holds no secrets; `Display` tells it in plain words.
    pub fn explain(&self) -> Option<Explanation> {
        let (url, curl) = self.0.endpoint.sent()?;
        let LastCall { attempts, request_id, ledger } = self.0.record.last();
        Some(Explanation { url, attempts, request_id, curl, ledger })
    }

    /// The software that answers at the endpoint, as far as its answers gave it away: `vllm`, `ollama`, `litellm`, …; `None`
    /// before the first answer, or where nothing gives it away. Nothing is asked to find out.
    pub fn server(&self) -> Option<&'static str> {
        self.0.endpoint.server()
    }

    /// The ids of the models that the endpoint serves.
    ///
    /// # Errors
    /// As any call; `not_found` where the endpoint has no such list.
    pub async fn models(&self) -> Result<Vec<String>, LlmError> {
        self.0.endpoint.models().await
    }

    /// Runs a call to its end.
    ///
    /// # Errors
    /// See [`generate`](crate::generate).
    pub async fn generate(&self, request: Request) -> Result<Completion, LlmError> {
        generate(self, request).await
    }
}

impl Inner {
    /// The model to ask for: the caller's, else the provider's default, else the one that the endpoint serves.
    pub(crate) async fn resolve_model(&self, clocks: &Clocks) -> Result<String, LlmError> {
        match self.known_model() {
            Some(name) => Ok(name),
            // It is done once, and its state is large.
            None => Box::pin(self.discover_model(clocks)).await,
        }
    }

    pub(crate) fn known_model(&self) -> Option<String> {
        let found = || self.found_model.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.model.clone().or_else(found).or_else(|| self.provider.default_model.clone())
    }

    /// Whether the model in use is a default that the caller did not choose.
    pub(crate) fn model_is_default(&self) -> bool {
        self.model.is_none() && self.found_model.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Asks the endpoint what it serves and takes the only model there is.
    pub(crate) async fn discover_model(&self, clocks: &Clocks) -> Result<String, LlmError> {
        let ids = self.endpoint.models_within(clocks).await.map_err(|error| {
            let mut error = explained(error, &Asked { llm: self, model: "", request: None });
            error.message = format!(
                "no model was given, and the endpoint's list of models cannot be had: {}",
                error.message
            );
            if matches!(error.kind, ErrorKind::NotFound | ErrorKind::BadResponse) {
                error.hint = Some(
                    "is the base URL right, `/v1` included? If it is, this endpoint has no list of models: name the \
                     model, model=\"…\""
                        .to_owned(),
                );
            }
            error
        })?;
        match ids.as_slice() {
            [only] => {
                *self.found_model.write().unwrap_or_else(PoisonError::into_inner) = Some(only.clone());
                Ok(only.clone())
            }
            [] => Err(LlmError::config(format!(
                "no model was given, and {} serves none",
                self.endpoint.base_url()
            ))
            .with_hint("load or pull a model on the server first")),
            several => {
                let shown = several.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = several.len().saturating_sub(20);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                Err(LlmError::config(format!(
                    "no model was given, and {} serves several: {shown}{more}",
                    self.endpoint.base_url()
                ))
                .with_hint("choose one: model=\"…\""))
            }
        }
    }

    /// How a request for this model is spelled here, before any refusal. Where it is to be sent as it is (`strict`), the
    /// caller's own spellings stand.
    pub(crate) fn adaptation(&self, model: &str, request: &Request) -> Adaptation {
        let mut known = match &self.adapter {
            None => profile::known(&self.provider, self.at_home, self.endpoint.server(), model),
            Some(adapter) => adapter::profile(&**adapter),
        };
        if self.strict && self.adapter.is_none() {
            let written = |name: &&str| request.params.contains_key(*name);
            known.max_tokens_field = TOKEN_LIMITS.into_iter().find(written).map(str::to_owned);
            known.developer = Some(true);
        }
        let Defaults { profile, drop_params, .. } = &self.asked;
        let leave = match drop_params {
            _ if self.strict => Leave::None,
            false => Leave::Features,
            true => Leave::Parameters,
        };
        Adaptation::new(self.endpoint.base_url().origin(), model.to_owned(), known, profile.clone(), leave)
    }
}

/// The names of the token limit that callers write.
const TOKEN_LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

impl Llm for UnifiedLlm {
    fn model_name(&self) -> String {
        self.0.known_model().unwrap_or_default()
    }

    fn stream(&self, request: Request) -> EventStream {
        notices::events(Call::new(Arc::clone(&self.0), request))
    }

    fn stream_once(&self, request: Request) -> EventStream {
        notices::events(Call::new(Arc::clone(&self.0), request).once())
    }

    fn served_by(&self) -> Option<ServedBy> {
        let (provider, base_url) = (&self.0.provider, self.0.endpoint.base_url());
        Some(ServedBy {
            provider: provider.otel.as_ref().unwrap_or(&provider.name).clone(),
            host: base_url.host().to_owned(),
            port: base_url.port(),
        })
    }

    fn expected_wait(&self) -> Duration {
        self.0.endpoint.throttle.expected_wait()
    }

    fn loading_limit(&self) -> Option<Duration> {
        self.0.endpoint.timeout.loading
    }

    fn context_window(&self) -> Option<u64> {
        self.0.endpoint.context_window(&self.0.known_model()?)
    }

    fn is_strict(&self) -> bool {
        self.0.strict
    }
}

impl fmt::Debug for UnifiedLlm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedLlm")
            .field("provider", &self.0.provider.name)
            .field("base_url", &self.0.endpoint.base_url().to_string())
            .field("model", &self.model_name())
            .finish_non_exhaustive()
    }
}
