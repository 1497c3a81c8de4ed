//! Gemini's layer for OpenAI's format: errors in a list, no unknown names, signatures that must come back.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{
    Calls, Keys, LastText, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("INVALID_ARGUMENT")
}

/// The parameters that it knows.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "response_format",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "temperature",
    "top_p",
    "reasoning_effort",
    "extra_body",
    "user",
];

/// generativelanguage.googleapis.com/v1beta/openai.
pub const GEMINI: ServerSpec = ServerSpec {
    name: "gemini",
    title: "Google Gemini (OpenAI layer)",
    sources: &["wire.md 2.14 [iss]", "which names are unknown changes over time"],
    base: "/v1beta/openai",
    model: "gemini-flash-latest",
    context: 1_048_576,
    keys: Keys {
        missing: bad("Missing or invalid Authorization header."),
        wrong: bad("API key not valid. Please pass a valid API key."),
        ..COMPATIBLE.keys
    },
    models: Models {
        entry: r#"{"id":"models/{id}","object":"model","owned_by":"google","display_name":$id}"#,
        ..COMPATIBLE.models
    },
    error: r#"[{"error":{"code":$status,"message":$message,"status":$type}}]"#,
    not_found: refuse(404, "").body(""),
    wrong_method: None,
    rules: &[
        (When::BadJson, bad("Invalid JSON payload received. Unexpected end of string.")),
        (When::OtherKey(KNOWN), bad("Invalid JSON payload received. Unknown name \"{value}\": Cannot find field.")),
        (When::Lacks("/messages"), bad("* GenerateContentRequest.contents: contents is not specified")),
        (
            When::UnknownModel,
            refuse(404, "models/{model} is not found for API version v1main, or is not supported for generateContent.")
                .kind("NOT_FOUND"),
        ),
        (
            When::Any("/tools", &When::Has("/function/parameters/$schema")),
            bad("Invalid JSON payload received. Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters': Cannot find field."),
        ),
        (
            When::Any("/messages", &When::Any("/tool_calls", &When::Lacks("/extra_content/google/thought_signature"))),
            bad(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
                 correctly, and missing thought_signature may lead to degraded model performance.",
            ),
        ),
        (
            When::TooLong,
            bad("The input token count ({prompt_tokens}) exceeds the maximum number of tokens allowed ({context})."),
        ),
    ],
    id: "{alnum22}",
    call_id: "function-call-{digits19}",
    whole: Whole {
        body: concat!(
            r#"{"choices":[$choices],"created":$created,"id":$id,"model":$model,"object":"chat.completion","#,
            usage!(),
            "}"
        ),
        choice: r#"{"finish_reason":$finish,"index":$index,"message":{<!calls "content":$text,!>"role":"assistant"
            <?calls ,"tool_calls":$calls?>}}"#,
        call: r#"{"extra_content":{"google":{"thought_signature":"{alnum44}"}},"function":{"arguments":$arguments,"name":$tool},
            "id":$call_id,"type":"function"}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"choices":[$choice],"created":$created,"id":$id,"model":$model,"object":"chat.completion.chunk"$more}"#,
        first: ("", ""),
        // Thoughts are not shown unless extra_body asks for them.
        reasoning: (r#"{"delta":{"role":"assistant"},"index":$index}"#, ""),
        text: (r#"{"delta":{"content":$text,"role":"assistant"},"index":$index}"#, ""),
        // Calls at once have all the index 0.
        calls: Calls::Whole((
            r#"{"delta":{"role":"assistant","tool_calls":[{"extra_content":{"google":{"thought_signature":"{alnum44}"}},
                "function":{"arguments":$arguments,"name":$tool},"id":$call_id,"index":0,"type":"function"}]},"index":$index}"#,
            "",
        )),
        finish: (
            r#"{"delta":{"role":"assistant"},"finish_reason":$finish,"index":$index}"#,
            concat!(",", usage!()),
        ),
        last_text: Some((
            LastText::Always,
            (
                r#"{"delta":{"content":$text,"role":"assistant"},"finish_reason":$finish,"index":$index}"#,
                concat!(",", usage!()),
            ),
        )),
        usage: (UsageChunk::Never, ("", "")),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
