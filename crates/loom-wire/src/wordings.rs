//! The codes and wordings of refusals, as far as they mean one thing wherever they appear.
//!
//! Sources: section 2 and cases 114–134 of the wire notes; what goes beyond them was read in public reports of users.

use crate::error::ErrorKind;

/// Codes and types that mean one thing wherever they appear. Sources: section 2 and cases 114–134 of the wire notes.
pub(crate) const BY_CODE: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Quota,
        &[
            "insufficient_quota",
            "exceeded_current_quota_error",
            "insufficient_user_quota",
            "pre_consume_token_quota_failed",
            "quotaexceeded",
            "setlimitexceeded",
            "accountoverdueerror",
            "arrearage",
            "billing_not_active",
            "billing_hard_limit_reached",
            // MiniMax.
            "insufficient_balance_error",
            "insufficient_balance",
            "free_quota_exceeded",
            "1113",
            "1304",
            "1308",
        ],
    ),
    (
        ErrorKind::ContextLength,
        &[
            "context_length_exceeded",
            "exceed_context_size_error",
            "string_above_max_length",
            "model_context_window_exceeded",
            "1261",
            "40303",
            "3051",
        ],
    ),
    (
        ErrorKind::ContentFilter,
        &[
            "content_filter",
            "content_policy_violation",
            "data_inspection_failed",
            "datainspectionfailed",
            "sensitive_words_detected",
            "responsibleaipolicyviolation",
            // OpenAI's reasoning models: "your prompt was flagged".
            "invalid_prompt",
            "1301",
        ],
    ),
    (
        ErrorKind::Auth,
        &[
            "invalid_api_key",
            "authentication_error",
            "invalid_authentication_error",
            "authenticationerror",
            "api_key_invalid",
            // LiteLLM without a database, for any key but the master's.
            "no_db_connection",
            "1000",
            "1001",
            "1002",
            "1003",
            "1004",
        ],
    ),
    (
        ErrorKind::NotFound,
        &["model_not_found", "deploymentnotfound", "modelnotopen", "1211", "20012", "40301", "1500"],
    ),
    (
        ErrorKind::Overloaded,
        &[
            "server_overloaded",
            "serveroverloaded",
            "overloaded",
            "overloaded_error",
            "engine_overloaded_error",
            "capacity_exceeded",
            "unavailable_error",
            "insufficient_system_resource",
            "1305",
        ],
    ),
    (
        ErrorKind::RateLimit,
        &[
            "rate_limit_exceeded",
            "rate_limit_reached_error",
            "rate_limit_error",
            // Baidu Qianfan.
            "rpm_rate_limit_exceeded",
            "tpm_rate_limit_exceeded",
            // Google says so of limits per minute, in the words that OpenAI has for an empty account.
            "resource_exhausted",
            "1302",
            "1303",
        ],
    ),
    (ErrorKind::Server, &["network_error", "1234", "50001"]),
];

/// Words in a message that mean one thing wherever they appear, in lower case.
pub(crate) const BY_WORDS: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Quota,
        &[
            "insufficient_quota",
            "insufficient balance",
            "quota is not enough",
            "额度已用尽",
            "额度不足",
            "余额不足",
            "arrearage",
            "exceeded your current quota",
            // Anthropic.
            "credit balance is too low",
            "insufficient credits",
            // Hugging Face.
            "exceeded your monthly included credits",
            "spending limit",
            "usage limit for this billing cycle",
            "账户已欠费",
            "账号已欠费",
        ],
    ),
    (
        ErrorKind::ContextLength,
        &[
            "maximum context length",
            "context length of only",
            "longer than the model's context length",
            "exceeds the available context",
            "exceeds the maximum context",
            "exceeds the model's available context",
            "exceeds the model's maximum context",
            "exceeded model token limit",
            "input token length too long",
            "must be smaller than the model context length",
            "prompt is too long",
            "too large for model with",
            "token limit reached",
            "input is too long",
            "range of input length",
            "context window exceeded",
            "contextwindowexceeded",
            "tokens + `max_new_tokens` must be <=",
            "reduce the length of the",
            // OpenAI's newer sentence.
            "exceeds the context window",
            "exceed the configured limit of",
            // vLLM, SGLang.
            "exceeds model's maximum context length",
            "longer than the maximum model length",
            // Gemini.
            "exceeds the maximum number of tokens allowed",
            "but model only supports up to",
            // xAI.
            "maximum prompt length is",
            // LM Studio.
            "greater than the context length",
            "context size has been exceeded",
            // Ollama.
            "exceeded max context length",
            "exceeds the context length",
            // MiniMax.
            "context window exceeds limit",
            // OpenRouter's smaller providers, GitHub Copilot, Docker Model Runner.
            "exceeds the maximum allowed input length",
            "prompt token count of",
            "the configured context size is",
            // Cloudflare.
            "exceeded this model context window limit",
            "超过最大长度",
            "上下文长度",
        ],
    ),
    (
        ErrorKind::ContentFilter,
        &[
            "content management policy",
            "considered high risk",
            "sensitivecontentdetected",
            "flagged for moderation",
            "requires moderation",
            "violating our usage policy",
            // xAI.
            "content violates usage guidelines",
            // Qwen.
            "may contain inappropriate content",
        ],
    ),
    (
        ErrorKind::Auth,
        &[
            "incorrect api key",
            "invalid api key",
            "api key not valid",
            "invalid token",
            "无效的令牌",
            "未提供令牌",
            "令牌已过期",
            "authentication fails",
            "api key expired",
            "invalid x-api-key",
        ],
    ),
    (
        ErrorKind::NotFound,
        &[
            "无可用渠道",
            "is not a valid model id",
            "invalid model name",
            "model does not exist",
            "the supported api model names are",
            "try pulling it first",
            // transformers serve.
            "server is pinned to",
        ],
    ),
];

/// A 500 with one of these is the client's mistake: repeating it cannot help.
pub(crate) const CLIENT_MISTAKES: &[&str] = &[
    "jinja",
    "raise_exception",
    "roles must alternate",
    "mmproj",
    "too large to process",
    "no user query found",
    "validation error",
    "'type': 'missing'",
    "'type': 'value_error'",
    "input_value",
    "not supported - hint",
    "tools param requires",
    "cannot use both",
    "not found in tools",
];

/// More than fits into a minute's allowance at once: waiting does not cure it (OpenAI with 429, Groq with 413).
pub(crate) const NEVER_FITS: &[&str] = &["request too large for"];

/// The server is starting: it will answer once the model is in memory.
pub(crate) const LOADING: &[&str] = &[
    // llama.cpp.
    "loading model",
    // Xinference, Hugging Face, LM Studio, Ollama.
    "model is loading",
    "is currently loading",
    "still loading",
    "model is being loaded",
    "loading the model",
    "模型加载中",
];
