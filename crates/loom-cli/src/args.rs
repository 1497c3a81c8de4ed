//! What may stand on the command line. Values that may hold a key are taken as plain text here and read in
//! `connect`, because clap repeats a value that it refuses.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::tools::ToolArgs;

const AFTER_HELP: &str = "\
Nothing at hand?   loom demo        shows what Loom does, without a server and without a key
A server of yours: loom run --base-url http://localhost:8000/v1 \"Who are you?\"
A cloud provider:  export DEEPSEEK_API_KEY=…; loom chat --llm deepseek
Named endpoints:   write them to loom.toml, then: loom run -e office \"…\"";

const CONNECTION: &str = "Endpoint";
const ANSWER: &str = "Answer";

/// Ask any endpoint that speaks the OpenAI chat format: vLLM, Ollama, llama.cpp, LM Studio, cloud providers, gateways.
#[derive(Parser)]
#[command(name = "loom", version, after_help = AFTER_HELP, arg_required_else_help = true, term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask one question; the answer goes to stdout
    Run(RunArgs),
    /// Talk: several turns, with line editing and history
    Chat(ChatArgs),
    /// List the models that the endpoint serves
    Models(ModelsArgs),
    /// List the providers and endpoints that can be named
    Providers(ProvidersArgs),
    /// List, show, export, import, fork and delete the conversations that are kept
    Sessions(SessionsArgs),
    /// Play a server on this machine, to try a program on it; without a name: list the servers
    Emulate(EmulateArgs),
    /// Show what Loom does on an emulated endpoint: no server, no key, nothing leaves this machine
    Demo,
}

impl Command {
    /// Whether a failure is to be told as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Models(args) => args.json,
            Self::Providers(args) => args.json,
            Self::Sessions(args) => matches!(args.command, SessionsCommand::List { json: true }),
            Self::Chat(_) | Self::Emulate(_) | Self::Demo => false,
        }
    }
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// The question; `-`, or nothing when stdin is no terminal, reads it from stdin
    pub(crate) question: Option<String>,
    /// Print one JSON object per line and event; the last is of type "finish" or "error"
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the model's thinking on stderr even if that is no terminal
    #[arg(long)]
    pub(crate) reasoning: bool,
    /// An image beside the question: a file, or a URL that the server loads; repeatable
    #[arg(long, value_name = "FILE", help_heading = ANSWER)]
    pub(crate) image: Vec<String>,
    /// Audio beside the question; repeatable
    #[arg(long, value_name = "FILE", help_heading = ANSWER)]
    pub(crate) audio: Vec<String>,
    /// A file beside the question, such as a PDF; repeatable
    #[arg(long, value_name = "FILE", help_heading = ANSWER)]
    pub(crate) file: Vec<String>,
    /// Say on stderr what was sent where, as a curl command without the key, and what had to be bridged; with --json, as
    /// the field "explain" of the last line
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) tools: ToolArgs,
    #[command(flatten)]
    pub(crate) session: SessionOption,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Args)]
#[command(after_help = "\
Lines may be edited and are kept in $XDG_STATE_HOME/loom/history (~/.local/state/loom/history).
LOOM_HISTORY names another file; LOOM_HISTORY= keeps none. A line that starts with a blank is not kept.
A \\ at the end of a line goes on in the next. Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands.
When stdin is no terminal, each line is a turn.")]
pub(crate) struct ChatArgs {
    /// Show the model's thinking on stderr even if that is no terminal
    #[arg(long)]
    pub(crate) reasoning: bool,
    #[command(flatten)]
    pub(crate) tools: ToolArgs,
    #[command(flatten)]
    pub(crate) session: SessionOption,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Args)]
pub(crate) struct ModelsArgs {
    /// Print a JSON list
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Args)]
pub(crate) struct ProvidersArgs {
    /// Print a JSON list
    #[arg(long)]
    pub(crate) json: bool,
    /// The loom.toml to read [env: LOOM_CONFIG] [default: ./loom.toml, else loom/loom.toml in the user's
    /// configuration folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Where the conversation is kept.
#[derive(Args)]
pub(crate) struct SessionOption {
    /// Keep the conversation under this name, and go on with it the next time; `loom sessions` lists them
    #[arg(long, value_name = "ID", help_heading = ANSWER)]
    pub(crate) session: Option<String>,
    /// The file of --session [env: LOOM_SESSIONS] [default: loom/sessions.db in $XDG_DATA_HOME, else in ~/.local/share]
    #[arg(long, value_name = "FILE", requires = "session", help_heading = ANSWER)]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    pub(crate) command: SessionsCommand,
    /// The file that holds the conversations [env: LOOM_SESSIONS] [default: loom/sessions.db in $XDG_DATA_HOME, else in
    /// ~/.local/share]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum SessionsCommand {
    /// List the conversations, the one that was changed last first
    List {
        /// Print a JSON list
        #[arg(long)]
        json: bool,
    },
    /// Print a conversation as Markdown
    Show {
        /// The conversation
        id: String,
    },
    /// Print a conversation as JSON, as `import` and the libraries read it
    Export {
        /// The conversation
        id: String,
    },
    /// Read a conversation, or a list of messages in OpenAI's form, and print its id
    Import {
        /// The JSON file; `-` reads stdin
        file: PathBuf,
        /// The id that it gets [default: its own]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Begin a conversation as a copy of another one, and print its id
    Fork {
        /// The conversation
        id: String,
        /// The id of the new one [default: one is made]
        new: Option<String>,
        /// How many messages it takes over [default: all]
        #[arg(long, value_name = "NUMBER")]
        at: Option<usize>,
    },
    /// Delete a conversation
    Delete {
        /// The conversation
        id: String,
    },
}

#[derive(Args)]
#[command(after_help = "\
The base URL goes to stdout, a line for each request to stderr. Ctrl-C ends it. It listens on 127.0.0.1 only.
A script is a JSON list of turns, one for each chat request that is not refused: \"a text\",
{\"content\": …, \"reasoning\": …, \"tool_calls\": [{\"name\": …, \"arguments\": {…}}], \"finish_reason\": …} or
{\"status\": 429, \"message\": …}. After the last turn the emulator answers by itself.
badproxy breaks the answers of an emulated OpenAI in the way that the model's name says; `loom models` on it lists the ways.")]
pub(crate) struct EmulateArgs {
    /// The server: vllm, ollama, deepseek, …
    pub(crate) name: Option<String>,
    /// The port [default: a free one]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// A file of what to answer; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// The key that requests must carry; it is no secret [default: none is asked for]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// A model that is served; repeatable [default: one that fits the server]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Vec<String>,
    /// The context of the model, in tokens, which are words [default: the server's]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<usize>,
    /// Milliseconds between the tokens of an answer
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
    pub(crate) delay: u64,
}

/// Which endpoint, and how to ask it. A flag wins over a `LOOM_*` variable, that over loom.toml, that over the
/// provider's own variables.
#[derive(Args, Clone, Default)]
pub(crate) struct Options {
    /// A named endpoint of loom.toml [env: LOOM_ENDPOINT] [default: the file's own `default`, unless the file merely
    /// lies in the working directory]
    #[arg(short, long, value_name = "NAME", help_heading = CONNECTION)]
    pub(crate) endpoint: Option<String>,
    /// A provider (`loom providers` lists them) or an endpoint of loom.toml [env: LOOM_LLM] [default: custom with a
    /// base URL, else openai]
    #[arg(long, value_name = "NAME", help_heading = CONNECTION)]
    pub(crate) llm: Option<String>,
    /// The endpoint's address, such as http://localhost:8000/v1 [env: LOOM_BASE_URL] [default: the provider's]
    #[arg(long, value_name = "URL", help_heading = CONNECTION)]
    pub(crate) base_url: Option<String>,
    /// The key, or better env:NAME (a variable that holds it) or cmd:COMMAND (a command that prints it), so that it
    /// does not stand in the shell's history [env: LOOM_API_KEY, which belongs to the address that the LOOM_*
    /// variables name] [default: the provider's own variable]
    #[arg(long, value_name = "KEY", help_heading = CONNECTION)]
    pub(crate) api_key: Option<String>,
    /// How the key is shown: bearer, header:NAME, query:NAME, basic:USER (the key is the password), basic (the key is
    /// USER:PASSWORD) or none [env: LOOM_AUTH] [default: as the provider wants it, else bearer]
    #[arg(long, value_name = "FORM", help_heading = CONNECTION)]
    pub(crate) auth: Option<String>,
    /// The model [env: LOOM_MODEL] [default: the provider's, or the one that the endpoint serves]
    #[arg(long, value_name = "NAME", help_heading = CONNECTION)]
    pub(crate) model: Option<String>,
    /// A PEM file with certificates of authorities to trust besides the system's
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub(crate) verify: Option<PathBuf>,
    /// The client's certificate, a PEM file, for endpoints that want one; with its key, or with --cert-key
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub(crate) cert: Option<PathBuf>,
    /// The key of --cert, a PEM file
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = CONNECTION)]
    pub(crate) cert_key: Option<PathBuf>,
    /// Take any certificate from anyone: whoever is on the way can then read the key and the prompt
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) dangerously_skip_verify: bool,
    /// The proxy, such as http://proxy:3128 or socks5h://proxy:1080; env:NAME for one with a password; direct for none
    /// [default: that of HTTPS_PROXY and its like]
    #[arg(long, value_name = "URL", help_heading = CONNECTION)]
    pub(crate) proxy: Option<String>,
    /// The address of a name, instead of asking the resolver, as NAME=ADDRESS; repeatable
    #[arg(long, value_name = "NAME=ADDRESS", help_heading = CONNECTION)]
    pub(crate) resolve: Vec<String>,
    /// A header of each request, as NAME=VALUE or "Name: value"; "Name:" leaves one out; repeatable
    #[arg(long, value_name = "HEADER", help_heading = CONNECTION)]
    pub(crate) header: Vec<String>,
    /// Seconds that a call may take, retries included [env: LOOM_TIMEOUT] [default: 600]
    #[arg(long, value_name = "SECONDS", help_heading = CONNECTION)]
    pub(crate) timeout: Option<f64>,
    /// Repetitions of a failed call before its first token [env: LOOM_MAX_RETRIES] [default: 2]
    #[arg(long, value_name = "NUMBER", help_heading = CONNECTION)]
    pub(crate) max_retries: Option<u32>,
    /// Each leniency is an error: nothing about the request is changed, nothing about the answer is bridged
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) strict: bool,
    /// The loom.toml to read [env: LOOM_CONFIG] [default: ./loom.toml, else loom/loom.toml in the user's
    /// configuration folder]
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub(crate) config: Option<PathBuf>,
    /// Instructions that stand before the conversation [env: LOOM_SYSTEM] [default: none]
    #[arg(long, value_name = "TEXT", help_heading = ANSWER)]
    pub(crate) system: Option<String>,
    /// Sampling temperature [env: LOOM_TEMPERATURE] [default: the server's]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, help_heading = ANSWER)]
    pub(crate) temperature: Option<f64>,
    /// The most tokens of an answer [env: LOOM_MAX_TOKENS] [default: the server's]
    #[arg(long, value_name = "TOKENS", help_heading = ANSWER)]
    pub(crate) max_tokens: Option<u64>,
    /// Any further request parameter, such as seed=7, 'stop=["\n"]' or reasoning_effort=low: the value is JSON, or a
    /// text; repeatable
    #[arg(long, value_name = "KEY=JSON", help_heading = ANSWER)]
    pub(crate) param: Vec<String>,
    /// Leave out parameters that the endpoint refuses, such as temperature, instead of failing
    #[arg(long, help_heading = ANSWER)]
    pub(crate) drop_params: bool,
}
