//! What an endpoint takes and how it spells it: partial data, laid over one another in layers. Requests are encoded by it.
//!
//! A field that is not set leaves the word to the layer below; the last layer is the format as OpenAI documents it. A new
//! quirk is a field here with the servers that show it, its effect in [`crate::request`], and a row of the tables that set
//! it (`servers.toml` for what is known beforehand, the cures for what refusals teach).

use serde::{Deserialize, Serialize};

/// What an endpoint takes and how it spells it. Everything is optional; what is not set is as OpenAI documents it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The key of the answer's token limit. Default `max_tokens`; OpenAI's newer models want `max_completion_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_field: Option<String>,
    /// Whether a stream may be asked for its usage by `stream_options`. Default yes; Mistral refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_usage: Option<bool>,
    /// Whether answers may be asked for as a stream, as a whole, or both. Default both; some Qwen models only stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<Streaming>,
    /// How tools are offered. Default natively; a vLLM without a tool parser refuses them, FastChat ignores them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolSupport>,
    /// The most that may be asked by `tool_choice`. Default a named tool; LM Studio takes only words, thinking models
    /// often only `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoiceSupport>,
    /// Whether `parallel_tool_calls` is taken. Default yes; some versions of Gemini refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The rung of the ladder on which a JSON answer is asked for. Default the first; DeepSeek has no schemas, LM Studio has
    /// nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<FormatSupport>,
    /// The server's own way to hold an answer to a schema, used where `json_schema` is not taken. Default none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grammar: Option<Grammar>,
    /// Whether a format may stand beside tools. Default yes; TGI refuses both together, and with vLLM the grammar leaves no
    /// room for a call. While tools are offered, the format then waits, or is told in the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_with_tools: Option<bool>,
    /// Whether the format is told in the prompt as well: the endpoint has passed over it. Default no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_in_prompt: Option<bool>,
    /// Whether schemas of answers are sent `strict`, in the form that this wants: closed objects, every property required.
    /// Default no; OpenAI holds answers to a schema for certain only so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_schema: Option<bool>,
    /// Whether tools are sent `strict` where the caller has not said. Default no; vLLM holds the arguments of a call to their
    /// schema only so, even of a call that must be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_tools: Option<bool>,
    /// Whether schemas are sent without `$ref` and `$defs`; what refers to itself keeps them. Default no; some versions of
    /// Gemini refuse them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_refs: Option<bool>,
    /// Whether JSON answers need the word JSON in the prompt (Qwen, DeepSeek, OpenAI's `json_object`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_word: Option<bool>,
    /// Where instructions may stand. Default anywhere; many templates want one message, at the beginning, or none at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemSupport>,
    /// Whether the role `developer` is known. Default no: it is sent as `system`. OpenAI knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub developer: Option<bool>,
    /// Whether user and assistant must take turns. Default no; older Mistral and Gemma templates demand it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate_roles: Option<bool>,
    /// Whether an assistant must speak between a tool's result and the user. Default no; Mistral demands it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_after_tool: Option<bool>,
    /// The content of an assistant's message that only calls tools. Default null; FastChat refuses null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_content: Option<CallContent>,
    /// Which ids of tool calls are taken. Default any; Mistral takes nine letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_ids: Option<IdForm>,
    /// The field in which an assistant's thinking goes back (`reasoning_content` at DeepSeek and Kimi). Default: it does
    /// not go back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_echo: Option<String>,
    /// Whether calls from elsewhere need Gemini's placeholder of a thought signature. Default no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signatures: Option<bool>,
    /// The field that marks a last message of the assistant as a beginning (`prefix` at Mistral, `partial` at Kimi).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_field: Option<String>,
    /// Whether tools are taken only with `reasoning_effort: "none"` (OpenAI from gpt-5.6 on, at this endpoint). Default no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools_without_reasoning: Option<bool>,
    /// Whether a tool's result may hold images, audio and files. Default no: they go into a message of the user behind the
    /// results (OpenAI and most servers take only text from tools).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_media: Option<bool>,
    /// How a call is to be written where tools are described in the prompt. Default Hermes'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_prompt: Option<ToolPrompt>,
    /// What is never sent: a parameter (`seed`), or a field within `messages`, `tools` or `response_format`
    /// (`messages.name`, `tools.strict`). Layers add up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
    };
}

words! {
    /// How answers may be asked for.
    Streaming {
        /// As a stream only.
        Always,
        /// As a whole only.
        Never,
    }
}

words! {
    /// How tools are offered.
    ToolSupport {
        /// In `tools`.
        Native,
        /// Described in the prompt; the calls are found in the answer's text.
        Prompt,
    }
}

words! {
    /// How a call is to be written as text.
    ToolPrompt {
        /// `<tool_call>{"name": …, "arguments": …}</tool_call>`.
        Hermes,
        /// `{"name": …, "parameters": …}` and nothing else.
        Json,
    }
}

words! {
    /// The most that may be asked by `tool_choice`, from most to least.
    ToolChoiceSupport {
        /// One tool by its name.
        Named,
        /// One tool by its name, but not `required` (llama-cpp-python).
        OnlyNamed,
        /// `required`, `auto` and `none`.
        Required,
        /// Nothing: `tool_choice` is left out, and a wish is told to the model.
        Auto,
    }
}

words! {
    /// How a JSON answer is asked for: the ladder, from the top.
    FormatSupport {
        /// By `response_format` in all its forms.
        Any,
        /// By `json_schema`, not `json_object` (LM Studio).
        JsonSchema,
        /// By the server's own field: [`Profile::grammar`].
        Grammar,
        /// As the arguments of a tool that must be called.
        Tool,
        /// By `json_object`; a schema goes into the prompt.
        JsonObject,
        /// In the prompt.
        Prompt,
    }
}

words! {
    /// A server's own way to hold an answer to a schema.
    Grammar {
        /// vLLM's field: `structured_outputs: {"json": SCHEMA}`.
        StructuredOutputs,
        /// The same in older versions: `guided_json: SCHEMA`.
        GuidedJson,
        /// llama.cpp's field: `json_schema: SCHEMA`.
        JsonSchema,
        /// llama-cpp-python, Together, Fireworks: `response_format: {"type": "json_object", "schema": SCHEMA}`.
        Schema,
        /// TGI: `response_format: {"type": "json_object", "value": SCHEMA}`.
        Value,
    }
}

words! {
    /// Where instructions may stand.
    SystemSupport {
        /// In any number of system messages, anywhere.
        Any,
        /// In one system message, at the beginning.
        First,
        /// In no system message: they go into the first message of the user.
        User,
    }
}

words! {
    /// The content of an assistant's message that only calls tools.
    CallContent {
        /// `null`.
        Null,
        /// `""`.
        Empty,
        /// No content key.
        Absent,
    }
}

words! {
    /// Which ids of tool calls are taken.
    IdForm {
        /// Any.
        Any,
        /// Nine letters and digits; every known server takes these.
        Short,
    }
}

impl Profile {
    /// Lays another profile over this one: what it sets counts, what it leaves open stays.
    pub fn overlay(&mut self, over: &Self) {
        macro_rules! take {
            ($($field:ident)*) => {
                // Names every field, so that none is forgotten.
                let Self { $($field,)* leave_out } = over;
                $(if $field.is_some() { self.$field.clone_from($field); })*
                for path in leave_out {
                    if !self.leave_out.contains(path) {
                        self.leave_out.push(path.clone());
                    }
                }
            };
        }
        take! {
            max_tokens_field stream_usage streaming tools tool_choice parallel_tool_calls response_format json_word system
            developer alternate_roles assistant_after_tool call_content tool_call_ids reasoning_echo thought_signatures
            prefill_field tools_without_reasoning tool_media tool_prompt grammar format_with_tools format_in_prompt
            strict_schema strict_tools inline_refs
        }
    }

    /// What it says that `base` does not.
    #[must_use]
    pub fn beyond(&self, base: &Self) -> Self {
        macro_rules! differing {
            ($($field:ident)*) => {
                Self {
                    $($field: if self.$field == base.$field { None } else { self.$field.clone() },)*
                    leave_out: self.leave_out.iter().filter(|path| !base.leave_out.contains(path)).cloned().collect(),
                }
            };
        }
        differing! {
            max_tokens_field stream_usage streaming tools tool_choice parallel_tool_calls response_format json_word system
            developer alternate_roles assistant_after_tool call_content tool_call_ids reasoning_echo thought_signatures
            prefill_field tools_without_reasoning tool_media tool_prompt grammar format_with_tools format_in_prompt
            strict_schema strict_tools inline_refs
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of a part of the body (`messages`, `tools`, `response_format`) is left out.
    pub(crate) fn left_out_of<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a str> {
        self.leave_out.iter().filter_map(move |path| path.strip_prefix(part)?.strip_prefix('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_counts_where_it_says_something() {
        let mut profile = Profile {
            stream_usage: Some(false),
            system: Some(SystemSupport::First),
            leave_out: vec!["seed".to_owned()],
            ..Profile::default()
        };
        profile.overlay(&Profile::default());
        assert_eq!(profile.stream_usage, Some(false));
        profile.overlay(&Profile {
            stream_usage: Some(true),
            leave_out: vec!["seed".to_owned(), "messages.name".to_owned()],
            ..Profile::default()
        });
        assert_eq!((profile.stream_usage, profile.system), (Some(true), Some(SystemSupport::First)));
        assert_eq!(profile.leave_out, ["seed", "messages.name"]);
        assert_eq!(profile.left_out_of("messages").collect::<Vec<_>>(), ["name"]);

        let base = profile.clone();
        profile.overlay(&Profile { developer: Some(true), ..Profile::default() });
        assert_eq!(profile.beyond(&base), Profile { developer: Some(true), ..Profile::default() });
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        assert!(serde_json::from_str::<Profile>(r#"{"sistem": "first"}"#).is_err());
        let profile: Profile = serde_json::from_str(r#"{"system": "first", "tools": "prompt"}"#).unwrap();
        assert_eq!(profile.tools, Some(ToolSupport::Prompt));
    }
}
