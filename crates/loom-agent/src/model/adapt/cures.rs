//! The table of cures: how a refusal reads → what to send instead.
//!
//! A row names who refuses so and how that is known. All of its conditions must hold. The engine tries the rows from top
//! to bottom and takes the first whose change makes another request of it; so a row need not ask whether the thing
//! complained of was sent at all. A cure that goes down a ladder is repeated until the request is another one.

use loom_wire::Profile;
use loom_wire::profile::{
    CallContent, FormatSupport, Grammar, IdForm, Streaming, SystemSupport, ToolChoiceSupport, ToolSupport,
};

use super::refusal::{Complaint, Refusal};

/// One way to refuse, and its cure.
pub(super) struct Row {
    /// Where it must point to; empty: anywhere.
    at: &'static [&'static str],
    /// What it must complain of.
    complaint: Option<Complaint>,
    /// The words it must hold, in lower case: one of these lists, whole. Empty: any words.
    words: &'static [&'static [&'static str]],
    /// What is done about it.
    pub(super) cure: fn(&mut Profile),
    /// The parameter that this takes from the caller, if he set it: only with leave to drop parameters.
    pub(super) takes: Option<&'static str>,
    /// The words leave no doubt: no row below is tried.
    pub(super) is_certain: bool,
}

const ROW: Row = Row { at: &[], complaint: None, words: &[], cure: |_| {}, takes: None, is_certain: false };

impl Row {
    fn fits(&self, refusal: &Refusal) -> bool {
        (self.at.is_empty() || self.at.iter().any(|path| refusal.points_at(path)))
            && self.complaint.is_none_or(|complaint| refusal.complaint == complaint)
            && (self.words.is_empty() || self.words.iter().any(|words| refusal.says(words)))
    }
}

const ROWS: &[Row] = &[
    // ---- Tools
    // OpenAI from gpt-5.6 on: "Function tools with reasoning_effort are not supported for … or set reasoning_effort to
    // 'none'", also where no effort was sent (BerriAI/litellm#34569, danny-avila/LibreChat#14231). gpt-5.4 and -5.5 refuse
    // an effort beside tools in the same words (openai/openai-openapi#541, pipecat-ai/pipecat#4043).
    Row {
        words: &[&["tools", "reasoning_effort", "not supported"], &["tools", "reasoning_effort", "'none'"]],
        cure: |profile| profile.tools_without_reasoning = Some(true),
        takes: Some("reasoning_effort"),
        ..ROW
    },
    // Bedrock behind gateways: "This model doesn't support tool use in streaming mode."
    Row {
        words: &[&["tool", "in streaming mode"], &["tool", "with streaming"]],
        cure: |profile| profile.streaming = Some(Streaming::Never),
        is_certain: true,
        ..ROW
    },
    // No tools here. vLLM: "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
    // "tool_choice=\"required\" requires --tool-call-parser"; LMDeploy: "Please launch the api_server with
    // --tool-call-parser"; llama.cpp: "tools param requires --jinja flag"; Ollama: "… does not support tools"; Xinference:
    // "Only {…} support tool calls"; OpenRouter, 404: "No endpoints found that support tool use" (pydantic-ai#2896).
    Row {
        words: &[
            &["--tool-call-parser"],
            &["--enable-auto-tool-choice"],
            &["tools", "requires --jinja"],
            &["not support tool"],
            &["n't support tool"],
            &["not support function"],
            &["n't support function"],
            &["only {", "support tool calls"],
            &["no endpoints found that support tool use"],
            &["tool use is not supported"],
            &["tool use is not enabled"],
            &["tool calling is not"],
            &["tool calls are not supported"],
            &["tools are not supported"],
            &["tools is not supported"],
            &["tool calling", "not supported"],
            &["function calling", "not supported"],
            &["function calling is not"],
            &["function call is not"],
            &["functions are not supported"],
            &["不支持工具"],
            &["不支持函数"],
        ],
        cure: |profile| profile.tools = Some(ToolSupport::Prompt),
        is_certain: true,
        ..ROW
    },
    // DeepSeek outside /beta, gateways.
    Row {
        words: &[&["strict", "not support"], &["strict", "/beta"]],
        cure: |profile| {
            profile.leave_out.extend(["tools.strict", "response_format.strict"].map(str::to_owned))
        },
        ..ROW
    },
    // vLLM: a strict tool's schema has something that its grammars cannot say (0.32: "Invalid grammar specification: …").
    Row { words: &[&["grammar"]], cure: |profile| profile.strict_tools = Some(false), ..ROW },
    // The field itself is not known (Gemini's and Mistral's way to refuse; older gateways).
    Row {
        at: &["tools$"],
        complaint: Some(Complaint::Unsupported),
        cure: |profile| profile.tools = Some(ToolSupport::Prompt),
        ..ROW
    },
    // DeepSeek: "Thinking mode does not support this tool_choice"; Kimi and Qwen while thinking.
    Row {
        words: &[&["thinking", "tool_choice"], &["reasoning mode", "tool_choice"]],
        cure: |profile| profile.tool_choice = Some(ToolChoiceSupport::Auto),
        ..ROW
    },
    // LM Studio: "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"; OpenRouter, 404:
    // "No endpoints found that support the provided 'tool_choice' value" (zed-industries/zed#36094).
    Row {
        at: &["tool_choice"],
        cure: |profile| {
            profile.tool_choice = Some(match profile.tool_choice {
                None | Some(ToolChoiceSupport::Named) => ToolChoiceSupport::Required,
                Some(_) => ToolChoiceSupport::Auto,
            });
        },
        ..ROW
    },
    // Gemini: "Unknown name \"parallel_tool_calls\"".
    Row { at: &["parallel_tool_calls"], cure: |profile| profile.parallel_tool_calls = Some(false), ..ROW },
    // ---- Answers
    // Mistral (422 extra_forbidden), older vLLM, gateways.
    Row { at: &["stream_options"], cure: |profile| profile.stream_usage = Some(false), ..ROW },
    // Qwen: "This model only support stream mode, please enable the stream parameter to access the model.",
    // "parameter.enable_thinking must be set to false for non-streaming calls".
    Row {
        words: &[
            &["only support stream"],
            &["only supports stream"],
            &["non-streaming calls"],
            &["enable the stream parameter"],
            &["stream must be true"],
            &["stream must be set to true"],
            &["streaming is required"],
        ],
        cure: |profile| profile.streaming = Some(Streaming::Always),
        ..ROW
    },
    Row {
        at: &["stream"],
        complaint: Some(Complaint::Unsupported),
        cure: |profile| profile.streaming = Some(Streaming::Never),
        ..ROW
    },
    Row {
        words: &[&["streaming is not supported"], &["streaming not supported"], &["not support streaming"]],
        cure: |profile| profile.streaming = Some(Streaming::Never),
        ..ROW
    },
    // OpenAI's o- and gpt-5 models: "Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead."
    Row {
        at: &["max_tokens"],
        complaint: Some(Complaint::Unsupported),
        cure: |profile| profile.max_tokens_field = Some("max_completion_tokens".to_owned()),
        ..ROW
    },
    Row {
        at: &["max_tokens"],
        words: &[&["max_completion_tokens"]],
        cure: |profile| profile.max_tokens_field = Some("max_completion_tokens".to_owned()),
        ..ROW
    },
    // Servers that know only the older name.
    Row {
        at: &["max_completion_tokens"],
        complaint: Some(Complaint::Unsupported),
        cure: |profile| profile.max_tokens_field = Some("max_tokens".to_owned()),
        ..ROW
    },
    // ---- JSON
    // Qwen: "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'";
    // OpenAI and DeepSeek in much the same words.
    Row {
        words: &[&["contain the word", "json"], &["must contain", "'json'"]],
        cure: |profile| profile.json_word = Some(true),
        ..ROW
    },
    // TGI: its `response_format` has a `value`.
    Row {
        words: &[&["missing field `value`"]],
        cure: |profile| {
            (profile.response_format, profile.grammar) = (Some(FormatSupport::Grammar), Some(Grammar::Value));
        },
        ..ROW
    },
    // vLLM since 0.12, where it refuses what it does not know: the newer name of the same.
    Row { at: &["guided_json"], cure: |profile| profile.grammar = Some(Grammar::StructuredOutputs), ..ROW },
    Row { at: &["structured_outputs"], cure: |profile| profile.grammar = Some(Grammar::GuidedJson), ..ROW },
    // A field of the server's own that it does not know after all.
    Row { at: &["guided_json", "structured_outputs", "json_schema$"], cure: format_down, ..ROW },
    // Not beside tools. TGI: "Grammar and tools are mutually exclusive"; llama.cpp: "Cannot use custom grammar constraints with
    // tools."; Gemini: "Function calling with a response mime type: 'application/json' is unsupported"; Groq: "json mode
    // cannot be combined with tool/function calling".
    Row {
        words: &[
            &["grammar", "tools"],
            &["response mime type", "unsupported"],
            &["json mode", "combined", "tool"],
            &["response_format", "combined", "tool"],
            &["response format", "combined", "tool"],
            &["response_format", "cannot be used", "tools"],
        ],
        cure: |profile| profile.format_with_tools = Some(false),
        ..ROW
    },
    // Gemini, Moonshot and others: "Unknown name \"$defs\"", "references are not supported". What refers to itself cannot
    // be sent otherwise: it goes down the ladder.
    Row {
        words: &[&["$ref"], &["$defs"], &["references", "not support"]],
        cure: |profile| profile.inline_refs = Some(true),
        ..ROW
    },
    // OpenAI: "Invalid schema for response_format 'x': In context=('properties', 'a'), 'minLength' is not permitted."
    Row {
        words: &[&["invalid schema for response_format"], &["invalid schema", "json_schema"]],
        cure: |profile| profile.strict_schema = Some(false),
        ..ROW
    },
    Row { words: &[&["$ref"], &["$defs"]], at: &["response_format"], cure: format_down, ..ROW },
    // LM Studio: "'response_format.type' must be 'json_schema' or 'text'".
    Row {
        at: &["response_format"],
        words: &[&["must be", "'json_schema'"], &["must be", "\"json_schema\""], &["only", "json_schema"]],
        cure: |profile| profile.response_format = Some(FormatSupport::JsonSchema),
        ..ROW
    },
    Row {
        at: &["response_format.strict", "response_format.json_schema.strict"],
        cure: |profile| profile.leave_out.push("response_format.strict".to_owned()),
        ..ROW
    },
    // DeepSeek: "This response_format type is unavailable now"; OpenAI: "'response_format' of type 'json_schema' is not
    // supported with this model"; llama.cpp: "response_format type must be one of \"text\" or \"json_object\"". A schema
    // that is wrong in itself stays an error.
    Row { at: &["response_format"], complaint: Some(Complaint::Unsupported), cure: format_down, ..ROW },
    Row {
        at: &["response_format"],
        words: &[
            &["type", "must be"],
            &["json mode"],
            &["json_schema", "invalid value"],
            &["allowed values"],
            &["supported values"],
            &["unknown variant"],
        ],
        cure: format_down,
        ..ROW
    },
    // Qwen: "Json mode response is not supported when enable_thinking is true".
    Row {
        words: &[
            // pydantic's words, the field in a tuple within the sentence (llama-cpp-python, 500).
            &["response_format", "should be 'text' or 'json_object'"],
            &["json mode", "not support"],
            &["json mode", "be combined"],
            &["structured output", "not support"],
            &["json_schema", "not support"],
            &["json_object", "not support"],
            &["json schema", "not support"],
            &["response_format", "not support"],
        ],
        cure: format_down,
        ..ROW
    },
    // ---- Roles
    // DeepSeek: "messages[0].role: unknown variant `developer`, expected one of `system`, …"; OpenAI's old o1-mini.
    Row {
        at: &["messages.role"],
        words: &[&["developer"]],
        cure: |profile| profile.developer = Some(false),
        ..ROW
    },
    Row {
        words: &[&["developer", "role"], &["developer", "unknown variant"], &["developer", "not support"]],
        cure: |profile| profile.developer = Some(false),
        ..ROW
    },
    // OpenAI's o1: "'messages[0].role' does not support 'system' with this model."; Gemma's template: "System role not
    // supported" (as vLLM and llama.cpp pass it on).
    Row {
        words: &[
            &["not support 'system'"],
            &["not support `system`"],
            &["not support \"system\""],
            &["not support system"],
            &["system role not supported"],
            &["system role is not supported"],
            &["system messages are not supported"],
            &["system message is not supported"],
            &["role 'system' is not"],
            &["role system is not"],
            &["unknown variant `system`"],
            &["invalid role", "system"],
            &["unsupported role", "system"],
            &["unknown role", "system"],
            &["不支持system"],
            &["不支持 system"],
        ],
        cure: |profile| profile.system = Some(SystemSupport::User),
        ..ROW
    },
    // Qwen3.5's template: "System message must be at the beginning."; Xinference; Mistral: "Unexpected role 'system' after
    // role 'user'".
    Row {
        words: &[
            &["system message", "beginning"],
            &["system message", "first"],
            &["system message", "start"],
            &["system role", "first"],
            &["first message", "can be a system"],
            &["first message", "can be system"],
            &["only one system"],
            &["multiple system"],
            &["one system message"],
            &["unexpected role 'system'"],
            &["unexpected role system"],
            &["system 消息"],
            &["系统消息"],
        ],
        cure: |profile| profile.system = Some(SystemSupport::First),
        ..ROW
    },
    // Mistral, vLLM with its tokenizer: "Unexpected role 'user' after role 'tool'" (avante.nvim#2562, mistral-vibe#578).
    Row {
        words: &[&["'user' after role 'tool'"], &["user after role tool"], &["user after tool"]],
        cure: |profile| profile.assistant_after_tool = Some(true),
        ..ROW
    },
    // vLLM and llama.cpp with older templates: "Conversation roles must alternate user/assistant/user/assistant/...".
    Row {
        words: &[
            &["must alternate"],
            &["should alternate"],
            &["roles alternate"],
            &["consecutive", "role"],
            &["consecutive user messages"],
            &["'user' after role 'user'"],
            &["first message", "must be", "user"],
            &["first message", "must use", "user"],
            &["must start with a user"],
            &["invalid_request_message_order"],
        ],
        cure: |profile| profile.alternate_roles = Some(true),
        ..ROW
    },
    // Anthropic's way behind gateways: "messages.0.role: Input should be 'user' or 'assistant'".
    Row {
        at: &["messages.role"],
        words: &[&["should be 'user' or 'assistant'"], &["must be 'user' or 'assistant'"]],
        cure: |profile| profile.system = Some(SystemSupport::User),
        ..ROW
    },
    Row {
        at: &["messages.role"],
        words: &[&["should be 'user' or 'assistant'"], &["must be 'user' or 'assistant'"]],
        cure: |profile| profile.tools = Some(ToolSupport::Prompt),
        ..ROW
    },
    // Templates without the role: a conversation without calls is all that is left.
    Row {
        words: &[
            &["unknown variant `tool`"],
            &["invalid role", "tool"],
            &["unknown role", "tool"],
            &["unsupported role", "tool"],
            &["role 'tool' is not"],
            &["unexpected role 'tool'"],
            &["roles are supported", "only user"],
            &["only user, system and assistant roles"],
            &["only user and assistant roles"],
        ],
        cure: |profile| profile.tools = Some(ToolSupport::Prompt),
        ..ROW
    },
    // Mistral: "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant".
    Row {
        words: &[
            &["prefix mode"],
            &["assistant with prefix true"],
            &["last role", "prefix"],
            &["prefix", "true", "assistant"],
        ],
        cure: |profile| profile.prefill_field = Some("prefix".to_owned()),
        ..ROW
    },
    // ---- History
    // Mistral: "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9."; OpenAI: "Invalid
    // 'messages[1].tool_calls[0].id': string too long"; Anthropic: "tool_use.id: String should match pattern".
    Row {
        at: &["messages.tool_calls.id", "messages.tool_call_id", "messages.tool_use.id"],
        cure: |profile| profile.tool_call_ids = Some(IdForm::Short),
        ..ROW
    },
    Row {
        words: &[
            &["tool call id", "must be"],
            &["tool call id", "length"],
            &["tool_call_id", "length"],
            &["tool_call_id", "alphanumeric"],
            &["tool_call.id", "length"],
            &["tool_use.id", "pattern"],
            &["tool call id", "invalid"],
        ],
        cure: |profile| profile.tool_call_ids = Some(IdForm::Short),
        ..ROW
    },
    // DeepSeek: "The reasoning_content in the thinking mode must be passed back to the API."; Kimi: "thinking is enabled
    // but reasoning_content is missing in assistant tool call message at index 1".
    Row {
        complaint: Some(Complaint::Missing),
        words: &[&["reasoning_content"]],
        cure: |profile| profile.reasoning_echo = Some("reasoning_content".to_owned()),
        ..ROW
    },
    Row {
        complaint: Some(Complaint::Missing),
        words: &[&["reasoning", "assistant", "message"]],
        cure: |profile| profile.reasoning_echo = Some("reasoning".to_owned()),
        ..ROW
    },
    // Gemini 3: "Function call is missing a thought_signature in functionCall parts". Its documentation names the
    // placeholder for calls that it did not make (continuedev/continue#8865).
    Row {
        words: &[&["thought_signature"], &["thought signature"]],
        cure: |profile| profile.thought_signatures = Some(true),
        ..ROW
    },
    // FastChat and strict gateways: an assistant that only calls tools has no null there.
    Row {
        at: &["messages.content"],
        words: &[
            &["none is not an allowed value"],
            &["should be a valid string"],
            &["null"],
            &["nil"],
            &["nonetype"],
            &["must be a string"],
            &["expected a string"],
            &["expected string"],
            &["is required"],
            &["field required"],
            &["missing"],
        ],
        cure: |profile| profile.call_content = Some(CallContent::Empty),
        ..ROW
    },
    Row {
        words: &[
            &["message content type", "nil"],
            &["content", "must not be null"],
            &["content", "cannot be null"],
            &["content", "can't be null"],
        ],
        cure: |profile| profile.call_content = Some(CallContent::Empty),
        ..ROW
    },
    // Anthropic and Bedrock behind gateways: "messages: text content blocks must be non-empty".
    Row {
        words: &[
            &["content", "must be non-empty"],
            &["content", "cannot be empty"],
            &["content", "must not be empty"],
            &["content", "at least 1 character"],
        ],
        cure: |profile| profile.call_content = Some(CallContent::Absent),
        ..ROW
    },
];

/// The rows that fit, from the top of the table on, and whether the last of them is certain.
pub(super) fn fitting(refusal: &Refusal) -> (Vec<&'static Row>, bool) {
    let mut rows: Vec<&Row> = ROWS.iter().filter(|row| row.fits(refusal)).collect();
    let certain = rows.iter().position(|row| row.is_certain);
    if let Some(place) = certain {
        rows.truncate(place + 1);
    }
    (rows, certain.is_some())
}

/// The next rung of the ladder of formats.
fn format_down(profile: &mut Profile) {
    profile.response_format = Some(match profile.response_format {
        None | Some(FormatSupport::Any | FormatSupport::JsonSchema) if profile.grammar.is_some() => {
            FormatSupport::Grammar
        }
        None | Some(FormatSupport::Any | FormatSupport::JsonSchema | FormatSupport::Grammar) => {
            FormatSupport::Tool
        }
        Some(FormatSupport::Tool) => FormatSupport::JsonObject,
        Some(FormatSupport::JsonObject | FormatSupport::Prompt) => FormatSupport::Prompt,
    });
}

/// Names that make a message, a tool or a format what it is: leaving one of them out cures nothing.
const STRUCTURE: &[&str] = &[
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "id",
    "type",
    "function",
    "arguments",
    "text",
    "image_url",
    "url",
    "input_audio",
    "file",
    "data",
    "parameters",
    "properties",
    "required",
    "items",
    "json_schema",
    "schema",
    "enum",
];

/// The field within messages, tools or the response format that a refusal does not know: Groq's "property
/// 'reasoning_content' is unsupported", Gemini's "Unknown name \"additionalProperties\"", Mistral's `extra_forbidden`.
pub(super) fn unknown_field(refusal: &Refusal) -> Vec<String> {
    if refusal.complaint != Complaint::Unsupported {
        return Vec::new();
    }
    refusal
        .paths
        .iter()
        .filter_map(|path| {
            let [part @ ("messages" | "tools" | "response_format"), .., field] =
                path.iter().map(String::as_str).collect::<Vec<_>>()[..]
            else {
                return None;
            };
            let is_structure = STRUCTURE.contains(&field) || (part == "tools" && field == "name");
            (!is_structure).then(|| format!("{part}.{field}"))
        })
        .collect()
}
