//! Tools and tool choice as far as the endpoint takes them; with the response format, see `format`.
//!
//! A feature goes down a ladder and never vanishes: what the endpoint does not take as a field is told to the model in
//! the prompt, and noted.

use std::borrow::Cow;

use super::format::Format;
use super::{Notes, Request, ToolChoice, prompt, schema};
use crate::ledger::Rule;
use crate::profile::{Profile, ToolChoiceSupport, ToolSupport};
use crate::tool::ToolSpec;

/// What is sent of them, and what is told to the model instead.
pub(super) struct Features<'a> {
    /// For `tools`; empty: not sent.
    pub(super) tools: Cow<'a, [ToolSpec]>,
    /// For `tool_choice`.
    pub(super) choice: Option<Cow<'a, ToolChoice>>,
    /// For `response_format` and fields like it.
    pub(super) format: Format<'a>,
    /// For the prompt.
    pub(super) instructions: Vec<String>,
    /// Tools are described in the prompt, so that calls and results are written as text.
    pub(super) prompted: bool,
}

impl<'a> Features<'a> {
    pub(super) fn new(request: &'a Request, profile: &Profile, notes: &mut Notes) -> Self {
        let mut features = Self {
            tools: Cow::Borrowed(&request.tools),
            choice: request.tool_choice.as_ref().map(Cow::Borrowed),
            format: Format::default(),
            instructions: Vec::new(),
            prompted: false,
        };
        features.fit_tools(request, profile, notes);
        features.format = Format::new(request, profile, &features, notes);
        features.instructions.extend(features.format.told.take());
        if let Some((tool, choice)) = features.format.tool.take() {
            features.tools = Cow::Owned(vec![tool]);
            features.choice = Some(Cow::Owned(choice));
        }
        features.fit_schemas(profile, notes);
        features
    }

    fn fit_tools(&mut self, request: &'a Request, profile: &Profile, notes: &mut Notes) {
        let prompted = request.tools_in_prompt || profile.tools == Some(ToolSupport::Prompt);
        if request.tools.is_empty() {
            if let Some(choice @ (ToolChoice::Required | ToolChoice::Named(_))) = &request.tool_choice {
                notes.note(
                    Rule::ParameterLeftOut,
                    format!("tool_choice {}: there are no tools", choice.shown()),
                );
            }
            // The results of earlier calls are text there, too.
            self.prompted = prompted && request.messages.iter().any(|message| !message.tool_calls.is_empty());
            return;
        }
        let takes = match profile.tool_choice {
            _ if prompted => ToolChoiceSupport::Auto,
            None => ToolChoiceSupport::Named,
            Some(takes) => takes,
        };
        let fits = match &request.tool_choice {
            None => true,
            Some(ToolChoice::Named(_)) => {
                matches!(takes, ToolChoiceSupport::Named | ToolChoiceSupport::OnlyNamed)
            }
            Some(ToolChoice::Required) => {
                matches!(takes, ToolChoiceSupport::Named | ToolChoiceSupport::Required)
            }
            Some(_) => takes != ToolChoiceSupport::Auto,
        };
        if !fits {
            self.fit_choice(request, takes, notes);
        }
        if prompted {
            self.prompted = true;
            if !self.tools.is_empty() {
                notes.adapted("tools described in the prompt");
                self.instructions.insert(0, prompt::tools(&self.tools, profile.tool_prompt));
                self.tools = Cow::Borrowed(&[]);
            }
        }
    }

    /// The tools' schemas in the form that the endpoint takes.
    fn fit_schemas(&mut self, profile: &Profile, notes: &mut Notes) {
        if profile.strict_tools == Some(true) && self.tools.iter().any(|tool| tool.strict.is_none()) {
            for tool in self.tools.to_mut() {
                tool.strict.get_or_insert(true);
            }
        }
        if profile.inline_refs == Some(true) && !self.tools.is_empty() {
            for tool in self.tools.to_mut() {
                if let Cow::Owned(fitted) = schema::fitted(&tool.parameters, profile, notes) {
                    tool.parameters = fitted;
                }
            }
        }
    }

    /// Says in other words what the endpoint does not take as `tool_choice`.
    fn fit_choice(&mut self, request: &'a Request, takes: ToolChoiceSupport, notes: &mut Notes) {
        let Some(choice) = &request.tool_choice else { return };
        let mut sent: Option<Cow<'a, ToolChoice>> = None;
        match choice {
            ToolChoice::Auto => {}
            ToolChoice::None => {
                // A history with calls needs its tools (LiteLLM before Anthropic); else there is nothing to choose.
                if request.messages.iter().any(|message| !message.tool_calls.is_empty()) {
                    self.instructions.push(prompt::NO_TOOL.to_owned());
                } else {
                    self.tools = Cow::Borrowed(&[]);
                }
            }
            ToolChoice::Required => match request.tools.as_slice() {
                [only] if takes == ToolChoiceSupport::OnlyNamed => {
                    sent = Some(Cow::Owned(ToolChoice::Named(only.name.clone())));
                }
                _ => self.instructions.push(prompt::ANY_TOOL.to_owned()),
            },
            ToolChoice::Named(name) => {
                let only: Vec<ToolSpec> =
                    request.tools.iter().filter(|tool| tool.name == *name).cloned().collect();
                if !only.is_empty() {
                    self.tools = Cow::Owned(only);
                }
                if takes == ToolChoiceSupport::Required {
                    sent = Some(Cow::Owned(ToolChoice::Required));
                } else {
                    self.instructions.push(prompt::this_tool(name));
                }
            }
        }
        let now = sent
            .as_ref()
            .map_or("left out".to_owned(), |sent| format!("sent as {} with one tool", sent.shown()));
        notes.adapted(format!("tool_choice {} {now}", choice.shown()));
        self.choice = sent;
    }
}
