//! What to do about a failure: a sentence for people, chosen from rows of data.
//!
//! A row says by which facts it is recognised; the first that fits counts. What stands in braces is filled in.

use loom_wire::{ErrorKind, Link, LlmError, Request, Role};

use crate::model::path::is_wrong_path;
use crate::model::provider::{self, Provider};
use crate::model::unified::Inner;

struct Row {
    /// All of these hold.
    when: &'static [Fact],
    hint: &'static str,
}

/// Something that is true of a failure.
enum Fact {
    Kind(ErrorKind),
    Status(u16),
    /// Stands in the server's sentence, in lower case.
    Says(&'static str),
    /// This kind of server answers there, by the provider's name: as its answers show, else as the user said, or by its
    /// usual port.
    At(&'static str),
    /// The model's name has a tag, as Ollama's do: `qwen:7b`.
    HasTag,
    /// The server is loading its model.
    Loading,
    /// The link that failed.
    Failed(Link),
    /// It is known what usually runs there.
    UsuallyThere,
    /// The path is missing and not the model.
    WrongPath,
    /// A tool's result was sent.
    ToolResultSent,
    KeySent,
    /// The provider has variables for a key, and none was used.
    KeyInVariables,
    /// These variables would count at this address.
    VariablesCount,
}

use Fact::{
    At, Failed, HasTag, KeyInVariables, KeySent, Kind, Loading, Says, Status, ToolResultSent, UsuallyThere,
    VariablesCount, WrongPath,
};

const ROWS: &[Row] = &[
    // The way there. Other failures have their hints where they are read.
    Row {
        when: &[Failed(Link::Tcp), Says("nothing listens"), UsuallyThere],
        hint: "is {servers} running? Start it with {starts}",
    },
    Row {
        when: &[Failed(Link::Tcp), Says("nothing listens")],
        hint: "is the server running, and is the port right? Within a container, localhost is the container itself",
    },
    // Tools: vLLM, LMDeploy, llama.cpp, Ollama, Xinference.
    Row {
        when: &[Says("enable-auto-tool-choice")],
        hint: "this vLLM was started without tool calling: vllm serve {model} --enable-auto-tool-choice --tool-call-parser hermes (the parser depends on the model)",
    },
    Row {
        when: &[Says("requires --tool-call-parser")],
        hint: "to force tools, start vLLM with a parser: vllm serve {model} --enable-auto-tool-choice --tool-call-parser hermes (it depends on the model)",
    },
    Row {
        when: &[Says("--tool-call-parser")],
        hint: "start the server with --tool-call-parser to use tools",
    },
    Row { when: &[Says("requires --jinja")], hint: "start llama-server with --jinja to use tools" },
    Row {
        when: &[Says("does not support tools"), At("ollama")],
        hint: "{model} has no tools: choose one that has (`ollama show {model}` lists the capabilities)",
    },
    Row {
        when: &[Says("does not support tools")],
        hint: "{model} has no tools here: choose one that has (on Ollama, `ollama show {model}` lists the capabilities)",
    },
    Row {
        when: &[Says("only {"), Says("support tool calls")],
        hint: "Xinference calls tools only with the models that the message lists: launch one of those, or leave the tools out",
    },
    Row {
        when: &[Kind(ErrorKind::Server), Status(500), Says("internal server error"), ToolResultSent],
        hint: "the server does not say why; its log does. A tool's result was sent: FastChat answers so, since it does not know the role `tool`",
    },
    Row {
        when: &[Kind(ErrorKind::Server), Status(500), Says("internal server error")],
        hint: "the server does not say why; its log does",
    },
    // The model.
    Row { when: &[Says("try pulling it first")], hint: "pull the model first: ollama pull {model}" },
    Row {
        when: &[Kind(ErrorKind::NotFound), Says("model"), Says("not found"), At("ollama")],
        hint: "pull the model first: ollama pull {model}",
    },
    // Ollama's sentence, at a port that says nothing; its errors do not tell its name.
    Row {
        when: &[Kind(ErrorKind::NotFound), Says("model '"), Says("' not found"), HasTag],
        hint: "if this is Ollama, pull the model first: ollama pull {model}",
    },
    Row {
        when: &[Kind(ErrorKind::NotFound), Says("model"), At("lmstudio")],
        hint: "download the model in LM Studio or with `lms get {model}`; `loom models` lists what is there",
    },
    Row {
        when: &[Kind(ErrorKind::NotFound), Says("does not exist"), At("vllm")],
        hint: "`loom models` lists what the endpoint serves; on vLLM the name is the one that --served-model-name gives",
    },
    Row {
        when: &[Says("mmproj")],
        hint: "this model has no image input here: start llama-server with --mmproj",
    },
    // Ollama.
    Row {
        when: &[Says("image urls are not")],
        hint: "this server loads no images from the web: give the image as a file or as bytes",
    },
    // DeepSeek, OpenRouter, Ollama, OpenAI.
    Row {
        when: &[Kind(ErrorKind::BadRequest), Says("unknown variant `image_url`")],
        hint: "{model} takes no images here: choose a model that sees",
    },
    Row {
        when: &[Says("support image input")],
        hint: "{model} takes no images here: choose a model that sees",
    },
    Row {
        when: &[Says("does not support image")],
        hint: "{model} takes no images here: choose a model that sees",
    },
    Row {
        when: &[Says("is not a multimodal model")],
        hint: "{model} takes no images here: choose a model that sees",
    },
    // The path. A web page and LM Studio's wrong path have hints of their own where they are read.
    Row {
        when: &[Kind(ErrorKind::NotFound), WrongPath],
        hint: "the server has no such path: is the base URL right, `/v1` included?",
    },
    Row { when: &[Kind(ErrorKind::NotFound)], hint: "`loom models` lists what the endpoint serves" },
    // The key.
    Row {
        when: &[Says("no required ssl certificate")],
        hint: "the endpoint wants a certificate from its clients: give yours as cert=(\"client.pem\", \"client.key\")",
    },
    Row {
        when: &[Says("the ssl certificate error")],
        hint: "the endpoint does not accept the client's certificate: is `cert` issued by the authority that it trusts, and unexpired?",
    },
    Row { when: &[Kind(ErrorKind::Auth), KeySent], hint: "the key that was given is not valid at {origin}" },
    Row {
        when: &[Kind(ErrorKind::Auth), KeyInVariables, VariablesCount],
        hint: "no key was sent: set {variables}, or give one as api_key",
    },
    Row {
        when: &[Kind(ErrorKind::Auth), KeyInVariables],
        hint: "no key was sent: give one as api_key. A key in {variables} is used only for {provider}'s own address or one that the environment names",
    },
    Row { when: &[Kind(ErrorKind::Auth)], hint: "no key was sent: give one as api_key" },
    Row {
        when: &[Kind(ErrorKind::Permission), Says("just a moment")],
        hint: "a bot check stands before the endpoint: is the base URL the API's own address, and not the website's?",
    },
    // The context.
    Row {
        when: &[Kind(ErrorKind::ContextLength), Says("available context size")],
        hint: "shorten the conversation, or start llama-server with a larger context: -c TOKENS",
    },
    Row {
        when: &[Kind(ErrorKind::ContextLength), Says("loaded with context length")],
        hint: "shorten the conversation, or load the model in LM Studio with a larger context",
    },
    Row {
        when: &[Kind(ErrorKind::ContextLength), At("ollama")],
        hint: "shorten the conversation, or give Ollama a larger context: OLLAMA_CONTEXT_LENGTH=TOKENS ollama serve",
    },
    Row {
        when: &[Kind(ErrorKind::ContextLength), At("vllm")],
        hint: "shorten the conversation or lower max_tokens, or start vLLM with a larger --max-model-len",
    },
    Row {
        when: &[Kind(ErrorKind::ContextLength)],
        hint: "shorten the conversation, or use a model or server setting with a larger context",
    },
    // Limits.
    Row {
        when: &[Loading],
        hint: "the model is still being loaded: ask later, or wait longer with `loading` in the timeout (and max_retries above 0)",
    },
    Row {
        when: &[Kind(ErrorKind::Quota)],
        hint: "waiting does not help: check the account's balance or plan",
    },
    Row {
        when: &[Kind(ErrorKind::RateLimit), Says("request too large")],
        hint: "this request alone is more than the account may send in a minute: shorten it, or raise the account's limit",
    },
    Row {
        when: &[Status(413), Says("web page")],
        hint: "a proxy in front of the server takes no body of this size (in nginx: client_max_body_size); are the images smaller as files?",
    },
];

/// What is known about a failed call besides its error.
pub(crate) struct Asked<'a> {
    pub(crate) llm: &'a Inner,
    /// The model that was asked for; empty if it is not known yet.
    pub(crate) model: &'a str,
    /// The request; `None` for a question about the endpoint itself.
    pub(crate) request: Option<&'a Request>,
}

/// Adds what to do, where that is known.
pub(crate) fn explained(mut error: LlmError, asked: &Asked<'_>) -> LlmError {
    if error.hint.is_none() {
        let row = ROWS.iter().find(|row| row.when.iter().all(|fact| asked.has(fact, &error)));
        error.hint = row.map(|row| asked.fill(row.hint));
    }
    // Else it is the next thing to fail.
    if error.link.is_some() && asked.lacks_key() {
        let also = asked.fill("also, no key was given, and {variables} is not set");
        error.hint = Some(match error.hint.take() {
            Some(hint) => format!("{hint}; {also}"),
            None => also,
        });
    }
    error
}

impl Asked<'_> {
    fn has(&self, fact: &Fact, error: &LlmError) -> bool {
        match fact {
            Kind(kind) => error.kind == *kind,
            Status(status) => error.status_code == Some(*status),
            Says(words) => error.message.to_ascii_lowercase().contains(words),
            At(name) => self.is_at(name),
            HasTag => self.model.contains(':'),
            Loading => error.is_loading(),
            Failed(link) => error.link == Some(*link),
            UsuallyThere => !self.usual_servers().is_empty(),
            WrongPath => is_wrong_path(error),
            ToolResultSent => self
                .request
                .is_some_and(|request| request.messages.iter().any(|message| message.role == Role::Tool)),
            KeySent => self.llm.endpoint.has_key(),
            KeyInVariables => !self.llm.provider.key_env.is_empty(),
            VariablesCount => self.llm.key_allowed,
        }
    }

    /// The provider wants a key, and neither the caller nor the environment has given one.
    fn lacks_key(&self) -> bool {
        let Inner { endpoint, provider, key_allowed, .. } = self.llm;
        *key_allowed && !endpoint.has_key() && !provider.local && !provider.key_env.is_empty()
    }

    fn is_at(&self, name: &str) -> bool {
        if let Some(server) = self.llm.endpoint.server() {
            return server == name;
        }
        self.usual_servers().iter().any(|known| known.name == name)
    }

    /// The server that the user named, or those whose usual port it is.
    fn usual_servers(&self) -> Vec<&Provider> {
        match &self.llm.provider {
            named if named.local => vec![named],
            _ => provider::usually_at(self.llm.endpoint.base_url().port()).collect(),
        }
    }

    fn fill(&self, hint: &str) -> String {
        let model = if self.model.is_empty() { "MODEL" } else { self.model };
        let provider = &self.llm.provider;
        let servers = self.usual_servers();
        let titles: Vec<&str> = servers.iter().map(|server| server.title.as_str()).collect();
        let starts: Vec<String> =
            servers.iter().filter_map(|server| Some(format!("`{}`", server.start.as_ref()?))).collect();
        [
            ("{model}", model),
            ("{origin}", &self.llm.endpoint.base_url().origin()),
            ("{variables}", &provider.key_env.join(" or ")),
            ("{provider}", &provider.name),
            ("{servers}", &titles.join(" or ")),
            ("{starts}", &starts.join(" or ")),
        ]
        .into_iter()
        .fold(hint.to_owned(), |text, (place, value)| text.replace(place, value))
    }
}
