//! `response_format` as far as the endpoint takes it: a ladder from its own field down to the prompt.
//!
//! The rungs, [`FormatSupport`]: `json_schema`, the server's own field, a tool whose arguments are the answer, `json_object`
//! with the schema in the prompt, the prompt alone. A rung that cannot be used in a request gives way to the next.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::features::Features;
use super::{Notes, Request, ToolChoice, prompt, schema};
use crate::ledger::Rule;
use crate::message::Message;
use crate::profile::{FormatSupport, Grammar, Profile, ToolChoiceSupport};
use crate::tool::ToolSpec;

/// How a JSON answer is asked for.
#[derive(Default)]
pub(super) struct Format<'a> {
    /// For `response_format`.
    pub(super) field: Option<Cow<'a, Value>>,
    /// A field of the server's own, and its value.
    pub(super) own_field: Option<(&'static str, Value)>,
    /// The tool whose arguments are the answer, and the choice that asks for it.
    pub(super) tool: Option<(ToolSpec, ToolChoice)>,
    /// The arguments of a call are the answer.
    pub(super) answer_is_call: bool,
    /// For the prompt.
    pub(super) told: Option<String>,
}

/// What a request asks for.
struct Wish<'a> {
    format: &'a Value,
    /// `None`: any JSON object.
    schema: Option<&'a Value>,
    is_schema: bool,
}

impl<'a> Format<'a> {
    pub(super) fn new(
        request: &'a Request,
        profile: &Profile,
        features: &Features<'_>,
        notes: &mut Notes,
    ) -> Self {
        let Some(format) = request.response_format.as_ref().filter(|format| !format.is_null()) else {
            return Self::default();
        };
        let is_schema = match format.get("type").and_then(Value::as_str) {
            Some("json_schema") => true,
            Some("json_object") => false,
            _ => return Self { field: Some(Cow::Borrowed(format)), ..Self::default() },
        };
        let schema = format.pointer("/json_schema/schema").or_else(|| format.get("schema"));
        let wish = Wish { format, schema, is_schema };
        let has_tools = features.prompted || !features.tools.is_empty();
        // Calls are text there, for which a grammar leaves no room; some servers refuse both at once.
        let is_apart = (features.prompted && !request.tools.is_empty())
            || (has_tools && profile.format_with_tools == Some(false));
        if is_apart {
            if request.unchecked && request.tool_choice != Some(ToolChoice::None) {
                notes.note(Rule::FormatAfterTools, format!("{} not sent beside tools", wish.name()));
                return Self::default();
            }
            return wish.told(notes);
        }
        wish.on_rung(request, profile, features, notes)
    }
}

impl<'a> Wish<'a> {
    fn name(&self) -> &'static str {
        if self.is_schema { "response_format json_schema" } else { "response_format json_object" }
    }

    fn told(&self, notes: &mut Notes) -> Format<'a> {
        notes.adapted(format!("{} told in the prompt", self.name()));
        Format { told: Some(prompt::json(self.schema)), ..Format::default() }
    }

    /// The wish on its rung, or on the next that can be used here.
    fn on_rung(
        self,
        request: &Request,
        profile: &Profile,
        features: &Features<'_>,
        notes: &mut Notes,
    ) -> Format<'a> {
        let has_tools = features.prompted || !features.tools.is_empty();
        let takes_choice = profile.tools.is_none_or(|tools| tools == crate::profile::ToolSupport::Native)
            && !request.tools_in_prompt
            && profile.tool_choice != Some(ToolChoiceSupport::Auto);
        let is_object =
            self.schema.is_some_and(|schema| schema.get("type").is_some_and(|kind| kind == "object"));
        let mut rung = profile.response_format.unwrap_or(FormatSupport::Any);
        if rung == FormatSupport::Grammar && profile.grammar.is_none() {
            rung = FormatSupport::Tool;
        }
        // Only TGI wants a schema for that.
        if rung == FormatSupport::Grammar && !self.is_schema && profile.grammar != Some(Grammar::Value) {
            rung = FormatSupport::JsonObject;
        }
        if rung == FormatSupport::Tool && (has_tools || !takes_choice || !is_object || !self.is_schema) {
            rung = FormatSupport::JsonObject;
        }
        let mut sent = match rung {
            FormatSupport::Prompt => return self.told(notes),
            FormatSupport::JsonSchema if !self.is_schema => {
                let schema = json!({"name": "object", "schema": {"type": "object"}});
                notes.adapted(format!("{} sent as json_schema", self.name()));
                with_field(json!({"type": "json_schema", "json_schema": schema}))
            }
            FormatSupport::JsonObject if self.is_schema => {
                notes.adapted(format!("{} sent as json_object, the schema in the prompt", self.name()));
                let told = Some(prompt::json(self.schema));
                Format { told, ..with_field(json!({"type": "json_object"})) }
            }
            FormatSupport::Grammar => self.in_own_field(profile, notes),
            FormatSupport::Tool => self.as_tool(profile, notes),
            FormatSupport::Any | FormatSupport::JsonSchema | FormatSupport::JsonObject => {
                Format { field: Some(self.fitted(profile, notes)), ..Format::default() }
            }
        };
        if sent.told.is_none() && profile.format_in_prompt == Some(true) {
            notes.adapted(format!(
                "{} told in the prompt as well: the endpoint has passed over it",
                self.name()
            ));
            sent.told = Some(prompt::json(self.schema));
        } else if sent.told.is_none()
            && profile.json_word == Some(true)
            && !request.messages.iter().any(|message| says_json(message))
        {
            notes.adapted("the word JSON added to the prompt");
            sent.told = Some(prompt::json(None));
        }
        sent
    }

    /// The format as it came, with the schema in the form that the endpoint takes.
    fn fitted(&self, profile: &Profile, notes: &mut Notes) -> Cow<'a, Value> {
        let Some(given) = self.schema.filter(|_| self.is_schema) else { return Cow::Borrowed(self.format) };
        let fitted = schema::fitted(given, profile, notes);
        let has_word = self.format.pointer("/json_schema/strict").is_some();
        let strict =
            (profile.strict_schema == Some(true) && !has_word).then(|| schema::strict(&fitted)).flatten();
        if strict.is_none() && matches!(fitted, Cow::Borrowed(_)) {
            return Cow::Borrowed(self.format);
        }
        let is_strict = strict.is_some();
        let mut format = self.format.clone();
        let holder = if format.get("json_schema").is_some() {
            format.get_mut("json_schema")
        } else {
            Some(&mut format)
        };
        if let Some(Value::Object(holder)) = holder {
            holder.insert("schema".to_owned(), strict.unwrap_or_else(|| fitted.into_owned()));
            if is_strict {
                notes.respelled("the schema sent strict");
                holder.insert("strict".to_owned(), true.into());
            }
        }
        Cow::Owned(format)
    }

    fn in_own_field(&self, profile: &Profile, notes: &mut Notes) -> Format<'a> {
        let any = json!({"type": "object"});
        let fitted = schema::fitted(self.schema.unwrap_or(&any), profile, notes).into_owned();
        let (shown, format) = match profile.grammar {
            Some(Grammar::StructuredOutputs) => {
                ("structured_outputs", with_own_field("structured_outputs", json!({"json": fitted})))
            }
            Some(Grammar::GuidedJson) => ("guided_json", with_own_field("guided_json", fitted)),
            Some(Grammar::JsonSchema) => ("the field json_schema", with_own_field("json_schema", fitted)),
            Some(Grammar::Schema) => {
                ("json_object with a schema", with_field(json!({"type": "json_object", "schema": fitted})))
            }
            None | Some(Grammar::Value) => {
                ("json_object with a value", with_field(json!({"type": "json_object", "value": fitted})))
            }
        };
        notes.adapted(format!("{} sent as {shown}", self.name()));
        format
    }

    fn as_tool(&self, profile: &Profile, notes: &mut Notes) -> Format<'a> {
        let text = |key: &str| self.format.pointer(&format!("/json_schema/{key}")).and_then(Value::as_str);
        let name =
            ToolSpec::free_name(text("name").filter(|name| !name.is_empty()).unwrap_or("answer"), |_| false);
        let mut tool = ToolSpec::new(&name, text("description").unwrap_or(prompt::ANSWER_TOOL));
        if let Some(given) = self.schema {
            tool.parameters = given.clone();
        }
        let choice = match profile.tool_choice {
            Some(ToolChoiceSupport::Required) => ToolChoice::Required,
            _ => ToolChoice::Named(name),
        };
        notes.adapted(format!("{} sent as a tool that must be called", self.name()));
        Format { tool: Some((tool, choice)), answer_is_call: true, ..Format::default() }
    }
}

fn with_field<'a>(format: Value) -> Format<'a> {
    Format { field: Some(Cow::Owned(format)), ..Format::default() }
}

fn with_own_field<'a>(name: &'static str, value: Value) -> Format<'a> {
    Format { own_field: Some((name, value)), ..Format::default() }
}

fn says_json(message: &Message) -> bool {
    message.text().to_lowercase().contains("json")
}
