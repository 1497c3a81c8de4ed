//! From the events of a run to what is printed: the answer on stdout as it comes, the thinking dimmed on stderr.

use std::io;

use loom::{AgentEvent, Compacted, ContextPolicy, FinishReason, Message, Retry};

use crate::markdown::Markdown;
use crate::screen::{DIM, Screen, harmless};

/// Prints one answer.
pub(crate) struct AnswerView<'a> {
    screen: &'a Screen,
    /// None: the text is printed as it is.
    markdown: Option<Markdown>,
    shows_reasoning: bool,
    in_reasoning: bool,
    /// Something stands in the line that stdout is in.
    in_line: bool,
    /// The answer has text.
    has_text: bool,
}

impl<'a> AnswerView<'a> {
    /// `reasoning`: show the thinking even where stderr is no terminal.
    pub(crate) fn new(screen: &'a Screen, reasoning: bool) -> Self {
        Self {
            screen,
            markdown: screen.out_is_styled().then(Markdown::default),
            // With stdout elsewhere, the thinking would only disturb a pager.
            shows_reasoning: reasoning || (screen.err_is_terminal && screen.out_is_terminal),
            in_reasoning: false,
            in_line: false,
            has_text: false,
        }
    }

    /// Prints what an event adds.
    pub(crate) fn show(&mut self, event: &AgentEvent) -> io::Result<()> {
        match event {
            AgentEvent::ContentDelta { content } => self.text(content),
            AgentEvent::ReasoningDelta { content } if self.shows_reasoning => {
                self.end_line()?;
                self.in_reasoning = true;
                self.screen.err(DIM, &harmless(content));
                Ok(())
            }
            AgentEvent::ToolStart { name, arguments, .. } if self.screen.err_is_terminal => {
                self.end_line()?;
                let arguments = serde_json::Value::from(arguments.clone()).to_string();
                let shown: String = arguments.chars().take(200).collect();
                self.screen.note(&harmless(&format!("[calls {name} {shown}]")));
                Ok(())
            }
            // For whoever sits before it; a script has `--json`.
            AgentEvent::Retry(retry) if self.screen.err_is_terminal => {
                self.screen.note(&retry_note(retry));
                Ok(())
            }
            AgentEvent::ContextCompacted(what) => {
                self.screen.note(&compacted_note(what));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn text(&mut self, content: &str) -> io::Result<()> {
        if std::mem::take(&mut self.in_reasoning) {
            self.screen.err(DIM, "\n\n");
        }
        self.has_text = true;
        self.in_line = !content.ends_with('\n');
        let text = self.screen.foreign(content);
        match &mut self.markdown {
            Some(markdown) => self.screen.out(&markdown.push(&text)),
            None => self.screen.out(&text),
        }
    }

    fn end_line(&mut self) -> io::Result<()> {
        if let Some(markdown) = &mut self.markdown {
            self.screen.out(&markdown.finish())?;
        }
        if std::mem::take(&mut self.in_line) { self.screen.out("\n") } else { Ok(()) }
    }

    /// Ends the line that the answer stands in, whether or not the answer is complete.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.in_reasoning) {
            self.screen.err(DIM, "\n");
        }
        self.end_line()
    }

    /// Ends an answer that Ctrl-C has stopped; the terminal has put `^C` into the line.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        self.in_line |= self.screen.out_is_terminal;
        self.end()
    }

    /// Ends a complete answer, and says what about it is not as one would expect.
    pub(crate) fn finish(&mut self, message: &Message) -> io::Result<()> {
        self.end()?;
        match &message.finish_reason {
            Some(FinishReason::Length) => {
                self.screen.note("[cut off: the answer has reached its token limit]");
            }
            Some(FinishReason::ContentFilter) => {
                self.screen.note("[cut off: the endpoint's content filter stopped the answer]");
            }
            reason if !self.has_text => {
                let reason = reason.as_ref().map_or("none", FinishReason::as_str);
                self.screen.note(&format!("[the answer has no text; finish reason: {reason}]"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the model does not know any more.
fn compacted_note(what: &Compacted) -> String {
    let how = match what.policy {
        ContextPolicy::Summarize => "a summary stands for them",
        _ => "they are no longer sent",
    };
    format!("[the model's context is full; the oldest {} turns: {how}]", what.removed_turns)
}

/// What a failed try means for whoever waits.
fn retry_note(retry: &Retry) -> String {
    if retry.reason == "loading" {
        return format!("[the model is being loaded: asked again in {:.0} s]", retry.wait.ceil());
    }
    format!("[{}: tried again in {:.1} s]", harmless(&retry.message), retry.wait)
}
