//! `loom chat`: a conversation of several turns.
//!
//! A turn that fails or is stopped never ends the chat: what had arrived stays in the conversation, and a question
//! that got nothing is taken out of it, so that it can be asked again.

mod command;
pub(crate) mod input;
mod save;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use anstyle::Style;
use loom::agent::Conversation;
use loom::{Agent, AgentError, AgentEvent, Llm, Message, Session};
use tokio::runtime::Runtime;

use crate::answer::AnswerView;
use crate::approve::decided;
use crate::args::ChatArgs;
use crate::chat::command::{Command, HELP};
use crate::chat::input::{Input, Line};
use crate::connect::{Connection, process_env};
use crate::failure::{FAILED, Failure, INTERRUPTED, tell_error};
use crate::interrupt::Interrupt;
use crate::run::{agent, next_event};
use crate::screen::{DIM, Screen, harmless};
use crate::sessions;
use crate::tools::Toolbox;

/// Runs the command and returns the exit code.
pub(crate) fn chat(args: ChatArgs, screen: &Screen, runtime: &Runtime) -> Result<u8, Failure> {
    let config = args.options.config.clone();
    let connection = Connection::new(args.options, &process_env)?;
    let (llm, _) = connection.open()?;
    let tools = Toolbox::new(&args.tools, config.as_deref())?;
    let agent = agent(&connection, Arc::clone(&llm), &tools)?;
    let mut chat = Chat {
        screen,
        runtime,
        interrupt: Interrupt::new(runtime),
        reasoning: args.reasoning,
        interactive: screen.in_is_terminal && screen.out_is_terminal,
        connection,
        llm,
        agent,
        tools,
        conversation: sessions::named(args.session)?.unwrap_or_default(),
        saved: HashSet::new(),
        failed: false,
    };
    let result = chat.converse();
    chat.tools.close(runtime);
    result
}

struct Chat<'a> {
    screen: &'a Screen,
    runtime: &'a Runtime,
    interrupt: Interrupt,
    reasoning: bool,
    /// A person sits at a terminal; else lines come and answers go, and nothing more.
    interactive: bool,
    connection: Connection,
    llm: Arc<dyn Llm>,
    agent: Agent,
    tools: Toolbox,
    conversation: Session,
    /// Files that this chat has written and may write again.
    saved: HashSet<PathBuf>,
    /// A turn or a command has failed.
    failed: bool,
}

/// What became of a turn.
enum Turn {
    Answered,
    Stopped,
    Failed(Failure),
}

impl Chat<'_> {
    fn converse(&mut self) -> Result<u8, Failure> {
        let mut input = Input::new(self.interactive, self.screen);
        self.greet();
        loop {
            match input.next(self.runtime, &self.interrupt)? {
                Line::End => break,
                Line::Interrupted if !self.interactive => return Ok(INTERRUPTED),
                Line::Interrupted => self.say("\nCtrl-D or /exit leaves; Ctrl-C stops an answer."),
                Line::Text(text) if text.trim().is_empty() => {}
                Line::Text(text) => {
                    if self.interactive {
                        self.interrupt.forget();
                    }
                    match Command::parse(&text) {
                        Some(Command::Exit) => break,
                        Some(command) => self.obey(command)?,
                        None if self.turn(text, &mut input)? => return Ok(INTERRUPTED),
                        None => {}
                    }
                }
            }
        }
        // For scripts; a person has seen what went wrong and gone on.
        Ok(if self.failed && !self.interactive { FAILED } else { 0 })
    }

    fn greet(&self) {
        let model = match self.llm.model_name() {
            name if name.is_empty() => "the model it serves".to_owned(),
            name => name,
        };
        let place = match self.connection.llm() {
            Ok(llm) => llm.endpoint().base_url().to_string(),
            Err(_) => "one of several endpoints".to_owned(),
        };
        let before = self.conversation.info().map_or(0, |info| info.message_count);
        if before > 0 {
            self.say(&format!("The conversation goes on after {before} messages; /new begins another one."));
        }
        self.say(&format!("{model} at {place}. /help lists the commands, Ctrl-D leaves."));
    }

    /// A word of the program itself, for a person.
    fn say(&self, text: &str) {
        if self.interactive {
            self.screen.err(DIM, &format!("{}\n", harmless(text)));
        }
    }

    /// One question and its answer; `true` if the program is to end.
    fn turn(&mut self, text: String, input: &mut Input<'_>) -> Result<bool, Failure> {
        let before = self.conversation.info()?.message_count;
        let (mut turn, mut partial) = self.runtime.block_on(self.answer(text.as_str()))?;
        while let Turn::Failed(failure) = turn {
            if !self.interactive {
                turn = Turn::Failed(failure);
                break;
            }
            match decided(failure, input, self.screen, self.runtime, &self.interrupt) {
                Ok(run) => (turn, partial) = self.runtime.block_on(self.answer(run))?,
                Err(Failure::Interrupted) => turn = Turn::Stopped,
                Err(failure) => {
                    turn = Turn::Failed(failure);
                    break;
                }
            }
        }
        if matches!(turn, Turn::Answered) {
            self.say("");
            return Ok(false);
        }
        let kept = !partial.is_empty();
        if kept {
            // What was complete of the turn is there already, with its question.
            let has_question = self.conversation.info()?.message_count > before;
            let question = (!has_question).then(|| Message::user(text));
            self.conversation.append(question.into_iter().chain([Message::assistant(partial)]))?;
        }
        if let Turn::Failed(failure) = turn {
            self.tell(failure)?;
        } else if !self.interactive {
            return Ok(true);
        }
        self.say(if kept {
            "[stopped: the answer is partial, and stays in the conversation as it is]"
        } else {
            "[no answer: the question is not part of the conversation; the up key brings it back]"
        });
        Ok(false)
    }

    /// Prints the answer to a question as it comes, and returns what had arrived of one that is not complete.
    async fn answer(&mut self, question: impl Into<Conversation>) -> Result<(Turn, String), Failure> {
        let mut view = AnswerView::new(self.screen, self.reasoning);
        let mut events = self.agent.stream_in(&self.conversation, question);
        let mut partial = String::new();
        let turn = loop {
            match next_event(&mut events, &self.interrupt).await {
                Ok(Some(AgentEvent::Finish { message, .. })) => {
                    view.finish(&message)?;
                    return Ok((Turn::Answered, String::new()));
                }
                Ok(Some(event)) => {
                    if let AgentEvent::ContentDelta { content } = &event {
                        partial.push_str(content);
                    }
                    view.show(&event)?;
                }
                Ok(None) => {
                    let error = AgentError::Execution("the run ended without an answer".to_owned());
                    break Turn::Failed(error.into());
                }
                Err(Failure::Interrupted) => break Turn::Stopped,
                Err(failure) => break Turn::Failed(failure),
            }
        };
        // First the connection, then the words about it.
        drop(events);
        if matches!(turn, Turn::Stopped) {
            view.stop()?
        } else {
            view.end()?
        }
        Ok((turn, partial))
    }

    /// Tells of a failure that does not end the chat; returns one that does.
    fn tell(&mut self, failure: Failure) -> Result<(), Failure> {
        self.failed = true;
        match self.connection.explain(failure) {
            Failure::Run(error) => {
                tell_error(self.screen, &error);
                Ok(())
            }
            other => Err(other),
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), Failure> {
        let result = match command {
            Command::Help => Ok(self.screen.out(HELP)?),
            Command::Exit => Ok(()),
            Command::New => {
                self.conversation = match self.conversation.path() {
                    Some(path) => Session::create(path)?,
                    None => Session::new(),
                };
                let name =
                    self.conversation.path().map(|_| format!(": --session {}", self.conversation.id()));
                self.say(&format!("A new conversation{}", name.unwrap_or_else(|| ".".to_owned())));
                Ok(())
            }
            Command::Model(None) => {
                let name = self.llm.model_name();
                let name =
                    if name.is_empty() { "not known yet: the one that the endpoint serves" } else { &name };
                Ok(self.screen.line(Style::new(), &harmless(name))?)
            }
            Command::Model(Some(name)) => self.change(|connection| {
                connection.settings = connection.settings.clone().model(name);
            }),
            Command::System(None) => {
                let text = self.connection.system.as_deref().unwrap_or("none; /system TEXT sets it");
                Ok(self.screen.line(Style::new(), &harmless(text))?)
            }
            Command::System(Some(text)) => {
                let system = Some(text).filter(|text| text != "-");
                self.change(|connection| connection.system = system)
            }
            Command::Models => self.models(),
            Command::Save(path) => save::save(&path, &self.conversation.messages()?, &mut self.saved)
                .map(|path| self.say(&format!("Saved to {}.", path.display()))),
            Command::Unknown(name) => {
                Err(Failure::usage(format!("there is no command /{name}; /help lists them")))
            }
        };
        result.or_else(|failure| self.tell(failure))
    }

    /// Changes the settings, unless no LLM can be made with them.
    fn change(&mut self, change: impl FnOnce(&mut Connection)) -> Result<(), Failure> {
        let mut changed = self.connection.clone();
        change(&mut changed);
        let (llm, _) = changed.open()?;
        self.agent = agent(&changed, Arc::clone(&llm), &self.tools)?;
        (self.connection, self.llm) = (changed, llm);
        self.say("From the next question on.");
        Ok(())
    }

    fn models(&self) -> Result<(), Failure> {
        let (current, llm) = (self.llm.model_name(), self.connection.llm()?);
        let ids = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.interrupt.pressed() => Ok(Vec::new()),
                ids = llm.models() => ids,
            }
        })?;
        for id in ids {
            let mark = if id == current { "* " } else { "  " };
            self.screen.line(Style::new(), &format!("{mark}{}", harmless(&id)))?;
        }
        Ok(())
    }
}
