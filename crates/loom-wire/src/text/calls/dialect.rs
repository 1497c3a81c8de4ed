//! The dialects in which models write tool calls: a row for each mark that may begin one.

use crate::text::calls::Offer;
use crate::text::calls::pairs::{self, Pairs};
use crate::text::calls::{Head, Unread, WrittenCall};
use crate::text::calls::{json, python, tagged, tokens};

/// How a model writes tool calls when it writes them as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`: Hermes, Qwen, and what most models understand.
    Hermes,
    /// `<tool_call><function=f><parameter=a>…`: Qwen-coder, Seed-OSS, Nemotron, Step.
    QwenCoder,
    /// `<tool_call>f<arg_key>a</arg_key><arg_value>…`: GLM from 4.5, Hunyuan 3, Ling 3, Laguna; Solar and
    /// K2 Horizon in tokens of their own.
    Glm,
    /// `[TOOL_CALLS][{…}]`, `[TOOL_CALLS]f{…}`.
    Mistral,
    /// `<|python_tag|>{"name": …, "parameters": …}`, `<|python_start|>[f(a=1)]<|python_end|>`.
    Llama,
    /// A JSON object or list, or a Python call, that is the whole answer: small Llama, Qwen and xLAM models.
    Bare,
    /// `<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>…`: K2; from K3 elements between tokens.
    Kimi,
    /// `<｜tool▁call▁begin｜>…<｜tool▁sep｜>…`: DeepSeek to V3.1, Step 3.
    DeepSeek,
    /// `<invoke name="f"><parameter name="a">…`: MiniMax, DeepSeek from V3.2, GigaChat 3.5, Muse, Claude-like models.
    Invoke,
    /// `[TOOL_REQUEST]{…}[END_TOOL_REQUEST]`: LM Studio's own.
    LmStudio,
    /// JSON between other marks: Hunyuan, Jamba, Phi-4-mini, Granite, Command, InternLM, LongCat, Nemotron, Apertus,
    /// GigaChat 3, Inkling.
    Marked,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`: LFM2, OLMo 3.
    Python,
    /// `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>`: gpt-oss.
    Harmony,
    /// `<|tool_call>call:f{a:1}<tool_call|>`: Gemma 4, FunctionGemma.
    Gemma,
}

impl Dialect {
    /// The dialect's name, as the ledger shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hermes => "hermes",
            Self::QwenCoder => "qwen-coder",
            Self::Glm => "glm",
            Self::Mistral => "mistral",
            Self::Llama => "llama",
            Self::Bare => "bare",
            Self::Kimi => "kimi",
            Self::DeepSeek => "deepseek",
            Self::Invoke => "invoke",
            Self::LmStudio => "lm-studio",
            Self::Marked => "marked",
            Self::Python => "python",
            Self::Harmony => "harmony",
            Self::Gemma => "gemma",
        }
    }
}

/// How what stands behind the mark is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// JSON, `<function=…>` or GLM's keys and values: all are written between `<tool_call>` tags.
    Tagged,
    /// Objects with name and arguments, or a list of them.
    Json,
    /// As `Json`, but only with arguments, since no mark says that it is a call.
    BareJson,
    /// The same, between code fences.
    FencedJson,
    /// A list, or name and object.
    Mistral,
    /// `<function=…>`, whose beginning is the mark itself.
    Function,
    /// A name, this token, and an object with name and arguments (Inkling).
    Headed(&'static str),
    /// Objects whose one key is the name, and its value the arguments.
    Named,
    /// An element for each call within another, or JSON.
    Section(&'static Pairs),
    /// An element for each call and each parameter; JSON or Python in their place.
    Invoke(&'static tagged::Syntax),
    /// Names of parameters and their values, between tags of their own; or JSON.
    Pairs(&'static Pairs),
    /// A recipient, and a message that is JSON.
    Harmony,
    /// Name and object, its strings between these tokens.
    Gemma(&'static str),
    /// Special tokens around name and arguments.
    Tokens(&'static tokens::Form),
    /// Calls as Python writes them, or JSON.
    PythonOrJson,
    /// A list of calls as Python writes them, that is the whole answer.
    BarePython,
}

/// A mark that may begin a call.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) dialect: Dialect,
    pub(super) open: &'static str,
    /// What ends it; nothing: it ends with its JSON.
    pub(super) close: &'static [&'static str],
    pub(super) body: Body,
    /// It counts only as the whole answer.
    pub(super) bare: bool,
}

const fn row(dialect: Dialect, open: &'static str, close: &'static [&'static str], body: Body) -> Row {
    Row { dialect, open, close, body, bare: false }
}

const fn bare(open: &'static str, close: &'static [&'static str], body: Body) -> Row {
    Row { dialect: Dialect::Bare, open, close, body, bare: true }
}

/// Marks that count anywhere outside code. Of two that begin alike the longer stands first.
pub(super) static MARKS: &[Row] = &[
    row(Dialect::Hermes, "<tool_call>", &["</tool_call>"], Body::Tagged),
    row(Dialect::QwenCoder, "<seed:tool_call>", &["</seed:tool_call>"], Body::Tagged),
    row(Dialect::QwenCoder, "<function=", &["</function>"], Body::Function),
    // MiniCPM.
    row(Dialect::QwenCoder, "<function name=", &["</function>"], Body::Function),
    row(Dialect::Glm, "<|tool_call:start|>", &["<|tool_call:end|>"], Body::Pairs(&pairs::SOLAR)),
    row(Dialect::Mistral, "[TOOL_CALLS]", &[], Body::Mistral),
    row(Dialect::Llama, "<|python_tag|>", &[], Body::PythonOrJson),
    row(Dialect::Llama, "<|python_start|>", &["<|python_end|>"], Body::PythonOrJson),
    row(
        Dialect::Kimi,
        "<|tool_calls_section_begin|>",
        &["<|tool_calls_section_end|>"],
        Body::Tokens(&tokens::KIMI),
    ),
    row(Dialect::Kimi, "<|tool_call_begin|>", &["<|tool_call_end|>"], Body::Tokens(&tokens::KIMI)),
    row(
        Dialect::DeepSeek,
        "<｜tool▁calls▁begin｜>",
        &["<｜tool▁calls▁end｜>"],
        Body::Tokens(&tokens::DEEPSEEK),
    ),
    row(
        Dialect::DeepSeek,
        "<｜tool▁call▁begin｜>",
        &["<｜tool▁call▁end｜>"],
        Body::Tokens(&tokens::DEEPSEEK),
    ),
    // The same tokens as texts have them that went through a tokenizer's clean-up, and Step 3's.
    row(
        Dialect::DeepSeek,
        "<｜tool_calls_begin｜>",
        &["<｜tool_calls_end｜>"],
        Body::Tokens(&tokens::DEEPSEEK_ASCII),
    ),
    row(
        Dialect::DeepSeek,
        "<｜tool_call_begin｜>",
        &["<｜tool_call_end｜>"],
        Body::Tokens(&tokens::DEEPSEEK_ASCII),
    ),
    // DeepSeek V3.2, V4, V4.1.
    row(
        Dialect::Invoke,
        "<｜DSML｜function_calls>",
        &["</｜DSML｜function_calls>"],
        Body::Invoke(&tagged::DSML),
    ),
    row(Dialect::Invoke, "<｜DSML｜tool_calls>", &["</｜DSML｜tool_calls>"], Body::Invoke(&tagged::DSML)),
    row(Dialect::Invoke, "<｜DSML｜ calls>", &["</｜DSML｜ calls>"], Body::Invoke(&tagged::DSML_APART)),
    row(
        Dialect::Invoke,
        "]<]minimax[>[<tool_call>",
        &["]<]minimax[>[</tool_call>"],
        Body::Invoke(&tagged::MINIMAX),
    ),
    row(Dialect::Invoke, "<｜GCML｜tool_calls>", &["</｜GCML｜tool_calls>"], Body::Invoke(&tagged::GCML)),
    row(Dialect::Invoke, "<atem:function_calls>", &["</atem:function_calls>"], Body::Invoke(&tagged::ATEM)),
    row(Dialect::Kimi, "<|open|>tools<|sep|>", &["<|close|>tools<|sep|>"], Body::Invoke(&tagged::XTML)),
    row(Dialect::Glm, "<ifm|tool_calls>", &["</ifm|tool_calls>"], Body::Section(&pairs::IFM)),
    row(Dialect::Glm, "<ifm|tool_call>", &["</ifm|tool_call>"], Body::Pairs(&pairs::IFM)),
    row(Dialect::Invoke, "<minimax:tool_call>", &["</minimax:tool_call>"], Body::Invoke(&tagged::PLAIN)),
    row(Dialect::Invoke, "<function_calls>", &["</function_calls>"], Body::Invoke(&tagged::PLAIN)),
    row(Dialect::LmStudio, "[TOOL_REQUEST]", &["[END_TOOL_REQUEST]"], Body::Json),
    row(Dialect::Invoke, "<dots_function_call>", &["</dots_function_call>"], Body::Invoke(&tagged::PLAIN)),
    row(Dialect::Marked, "<tool_calls>", &["</tool_calls>"], Body::Section(&pairs::GLM)),
    row(Dialect::Marked, "<function_call>", &[], Body::Json),
    row(Dialect::Marked, "<longcat_tool_call>", &["</longcat_tool_call>"], Body::Json),
    row(Dialect::Marked, "<TOOLCALL>", &["</TOOLCALL>"], Body::Json),
    row(Dialect::Marked, "<tools>", &["</tools>"], Body::Json),
    row(Dialect::Marked, "<|function_call|>", &[], Body::Json),
    // GigaChat 3.
    row(Dialect::Marked, "<|message_sep|>\n\nfunction call<|role_sep|>\n", &[], Body::Json),
    row(
        Dialect::Marked,
        "<|message_model|>",
        &["<|end_message|>"],
        Body::Headed("<|content_invoke_tool_json|>"),
    ),
    row(Dialect::Marked, "<|tools_prefix|>", &["<|tools_suffix|>"], Body::Named),
    row(Dialect::Marked, "<|tool_call|>", &[], Body::Json),
    row(Dialect::Marked, "<|START_ACTION|>", &["<|END_ACTION|>"], Body::Json),
    row(Dialect::Marked, "<|action_start|><|plugin|>", &["<|action_end|>"], Body::Json),
    row(Dialect::Marked, "<|action_start|> <|plugin|>", &["<|action_end|>"], Body::Json),
    row(Dialect::Harmony, "<|channel|>commentary to=", &[], Body::Harmony),
    row(Dialect::Harmony, "<|channel|>analysis to=", &[], Body::Harmony),
    row(Dialect::Harmony, "<|start|>assistant<|channel|>commentary to=", &[], Body::Harmony),
    row(Dialect::Harmony, "<|start|>assistant<|channel|>analysis to=", &[], Body::Harmony),
    row(Dialect::Harmony, "<|start|>assistant to=", &[], Body::Harmony),
    // Behind a text whose header the server has taken.
    row(Dialect::Harmony, "<|end|><|start|>assistant<|channel|>commentary to=", &[], Body::Harmony),
    row(Dialect::Harmony, "<|end|><|start|>assistant to=", &[], Body::Harmony),
    row(Dialect::Gemma, "<|tool_call>call:", &["<tool_call|>"], Body::Gemma("<|\"|>")),
    row(Dialect::Gemma, "<start_function_call>call:", &["<end_function_call>"], Body::Gemma("<escape>")),
    row(Dialect::Python, "<|tool_call_start|>", &["<|tool_call_end|>"], Body::PythonOrJson),
];

/// Beginnings that count only at the start of the answer, and if the answer is nothing else.
pub(super) static BARE: &[Row] = &[
    bare("{", &[], Body::BareJson),
    bare("[", &[], Body::BarePython),
    bare("functools[", &[], Body::BarePython),
    bare("```", &["```"], Body::FencedJson),
];

/// What may be left behind a call and says nothing.
pub(super) const LEFT_BEHIND: &[&str] = &[
    "</tool_call>",
    "</function_call>",
    "<|/tool_call|>",
    "<|message_sep|>",
    "<|eom|>",
    "<|eot|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<start_function_response>",
    "<turn|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|call|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
];

impl Row {
    /// What the beginning says: `text` starts with the mark.
    pub(super) fn head(&self, text: &str, offer: &Offer) -> Head {
        let behind = text.get(self.open.len()..).unwrap_or_default();
        match self.body {
            Body::Tagged => json::head(behind, true, offer)
                .or(|| tagged::head(behind, &tagged::PLAIN, offer))
                .or(|| pairs::head(behind, &pairs::GLM, offer)),
            Body::Json => json::head(behind, true, offer),
            Body::BareJson => json::head(text, false, offer),
            Body::FencedJson => match behind.split_once('\n') {
                Some((info, rest)) if info.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                    json::head(rest, false, offer)
                }
                Some(_) => Head::Not,
                None => Head::More,
            },
            Body::Mistral => {
                json::head(behind, true, offer).or(|| offer.head(behind.trim_start(), &['{', '[', ' ', '\n']))
            }
            Body::Function => tagged::head(text, &tagged::PLAIN, offer),
            Body::Invoke(syntax) => tagged::head(behind, syntax, offer)
                .or(|| json::head(behind, true, offer))
                .or(|| python::head(behind, offer)),
            Body::Headed(token) => offer.head(behind, &['<']).or(|| match behind.strip_prefix(token) {
                Some(json) => json::head(json, true, offer),
                None if token.starts_with(behind) => Head::More,
                None => Head::Not,
            }),
            Body::Named => json::named_head(behind, offer),
            Body::Section(form) => {
                json::head(behind, true, offer).or(|| pairs::section_head(behind, form, offer))
            }
            Body::Pairs(form) => json::head(behind, true, offer).or(|| pairs::head(behind, form, offer)),
            Body::Harmony => offer.head(behind.trim_start(), &['<', ' ', '\n', '{']),
            Body::Gemma(_) => offer.head(behind, &['{']),
            Body::Tokens(form) => tokens::head(text, form, offer),
            Body::PythonOrJson => json::head(behind, true, offer).or(|| python::head(behind, offer)),
            Body::BarePython => {
                let list = text.get(self.open.len().saturating_sub(1)..).unwrap_or_default();
                json::head(list, false, offer).or(|| python::head(list, offer))
            }
        }
    }

    /// Reads the calls in `text`, which starts with the mark and ends before what ends it. `closed` says that the end
    /// was there.
    pub(super) fn read(&self, text: &str, closed: bool, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
        let behind = text.get(self.open.len()..).unwrap_or_default();
        match self.body {
            Body::Tagged => {
                let inner = behind.trim_start();
                if inner.starts_with('<') {
                    tagged::calls(inner, &tagged::PLAIN, closed, offer)
                } else {
                    pairs::calls_or_json(inner, &pairs::GLM, closed, offer)
                }
            }
            Body::Json => json::calls(behind, closed, true, offer),
            Body::BareJson => json::calls(text, closed, false, offer),
            Body::FencedJson => {
                let (_, inner) = behind.split_once('\n').ok_or(Unread::Text)?;
                json::calls(inner, closed, false, offer)
            }
            Body::Mistral => json::mistral(behind, closed, offer),
            Body::Function => tagged::calls(text, &tagged::PLAIN, closed, offer),
            Body::Invoke(syntax) if behind.trim_start().starts_with(syntax.open) => {
                tagged::calls(behind, syntax, closed, offer)
            }
            Body::Invoke(_) => python_or_json(behind, closed, true, offer),
            Body::Headed(token) => {
                let (_, json) = behind.split_once(token).ok_or(Unread::Text)?;
                json::calls(json, closed, true, offer)
            }
            Body::Named => json::named_calls(behind, closed, offer),
            Body::Section(form) if behind.trim_start().starts_with('<') => {
                pairs::section_calls(behind, form, closed, offer)
            }
            Body::Section(_) => json::calls(behind, closed, true, offer),
            Body::Pairs(form) => pairs::calls_or_json(behind, form, closed, offer),
            Body::Harmony => json::harmony(behind, offer),
            Body::Gemma(quote) => json::gemma(behind, quote, closed, offer),
            Body::Tokens(form) => tokens::calls(text, form, offer),
            Body::PythonOrJson => python_or_json(behind, closed, true, offer),
            Body::BarePython => {
                let list = text.get(self.open.len().saturating_sub(1)..).unwrap_or_default();
                python_or_json(list, closed, false, offer)
            }
        }
    }

    /// Where the JSON begins whose end is the end of the call, for rows without a closing mark.
    pub(super) fn value_start(&self) -> usize {
        match self.body {
            Body::BareJson => 0,
            Body::BarePython => self.open.len().saturating_sub(1),
            _ => self.open.len(),
        }
    }

    /// Whether only an object ends the call: of `f[ARGS]{…}` the brackets do not count.
    pub(super) fn ends_with_object(&self, text: &str) -> bool {
        let behind = text.get(self.open.len()..).unwrap_or_default();
        matches!(self.body, Body::Mistral | Body::Harmony) && !behind.trim_start().starts_with('[')
    }
}

fn python_or_json(text: &str, closed: bool, marked: bool, offer: &Offer) -> Result<Vec<WrittenCall>, Unread> {
    let inner = text.trim_start();
    let object = inner.strip_prefix('[').map_or(inner, str::trim_start);
    if object.starts_with('{') {
        json::calls(inner, closed, marked, offer)
    } else {
        python::calls(inner, offer)
    }
}
