//! Who wins: flags, variables, files; and where a key may go.

use super::*;

const HERE: &str = "http://127.0.0.1:1/v1";
const THERE: &str = "http://127.0.0.1:2/v1";

fn connect(options: Options, env: &[(&str, &str)]) -> Connection {
    let find =
        |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Connection::new(options, &find).unwrap_or_else(|failure| panic!("{failure:?}"))
}

fn has_key(options: Options, env: &[(&str, &str)]) -> bool {
    connect(options, env).llm().unwrap_or_else(|failure| panic!("{failure:?}")).endpoint().has_key()
}

fn base_url(url: &str) -> Options {
    Options { base_url: Some(url.to_owned()), ..Options::default() }
}

fn llm(name: &str) -> Options {
    Options { llm: Some(name.to_owned()), ..Options::default() }
}

#[test]
fn the_place_is_named_as_a_whole() {
    let url = |options, env: &[(&str, &str)]| {
        connect(options, env).llm().unwrap().endpoint().base_url().to_string()
    };
    let env = [("LOOM_BASE_URL", THERE)];
    assert_eq!(url(Options::default(), &env), THERE);
    assert_eq!(url(base_url(HERE), &env), HERE);
    assert_eq!(url(llm("ollama"), &env), "http://localhost:11434/v1");
    assert_eq!(url(Options::default(), &[("LOOM_LLM", "ollama")]), "http://localhost:11434/v1");
    assert_eq!(url(Options::default(), &[("LOOM_LLM", "ollama"), ("LOOM_BASE_URL", THERE)]), THERE);
    let both = Options { endpoint: Some("a".into()), ..llm("b") };
    assert!(Connection::new(both, &|_| None).is_err());
}

#[test]
fn loom_api_key_belongs_to_the_place_that_the_variables_name() {
    let key = ("LOOM_API_KEY", "sk-env");
    let there = ("LOOM_BASE_URL", THERE);
    assert!(has_key(Options::default(), &[key, there]));
    assert!(has_key(base_url("http://127.0.0.1:2/other/path"), &[key, there]), "the same origin");
    assert!(!has_key(base_url(HERE), &[key, there]));
    assert!(!has_key(llm("ollama"), &[key, there]));
    assert!(!has_key(base_url(HERE), &[key, ("LOOM_LLM", "deepseek")]));
    assert!(has_key(llm("deepseek"), &[key, ("LOOM_LLM", "deepseek")]));
    assert!(has_key(base_url(HERE), &[key]), "the variables name no place");
    let given = Options { api_key: Some("sk-flag".into()), ..base_url(HERE) };
    assert!(has_key(given, &[key, there]));
    assert!(connect(base_url(HERE), &[key, there]).key_withheld);
}

#[test]
fn a_flag_wins_over_a_variable() {
    let shown = |options, env: &[(&str, &str)]| format!("{:?}", connect(options, env).settings);
    let env = [
        ("LOOM_BASE_URL", HERE),
        ("LOOM_MODEL", "m-env"),
        ("LOOM_TEMPERATURE", "0.5"),
        ("LOOM_MAX_TOKENS", "7"),
        ("LOOM_SYSTEM", "be brief"),
    ];
    let text = shown(Options::default(), &env);
    assert!(text.contains("m-env") && text.contains("0.5") && text.contains('7'), "{text}");
    assert_eq!(connect(Options::default(), &env).system.as_deref(), Some("be brief"));
    let flags = Options {
        model: Some("m-flag".into()),
        temperature: Some(0.25),
        max_tokens: Some(9),
        system: Some(String::new()),
        ..Options::default()
    };
    let text = shown(flags.clone(), &env);
    assert!(text.contains("m-flag") && text.contains("0.25") && text.contains('9'), "{text}");
    assert_eq!(connect(flags, &env).system, None, "an empty --system takes the variable's away");
}

#[test]
fn mistakes_are_named_without_their_secrets() {
    let refused = |options: Options, env: &[(&str, &str)]| {
        let find =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        format!("{:?}", Connection::new(options, &find).err().expect("it is refused"))
    };
    let header = |text: &str| Options { header: vec![text.into()], ..base_url(HERE) };
    assert!(!refused(header("Bearer sk-secret"), &[]).contains("sk-secret"));
    let key = |text: &str| Options { api_key: Some(text.into()), ..base_url(HERE) };
    assert!(refused(key("env:NOT_SET"), &[]).contains("NOT_SET"));
    for auth in ["digest", "header:", "query:", "bearer:x"] {
        let options = Options { auth: Some(auth.into()), ..base_url(HERE) };
        assert!(refused(options, &[]).contains("header:NAME"), "{auth}");
    }
    assert!(refused(base_url(HERE), &[("LOOM_MAX_TOKENS", "many")]).contains("LOOM_MAX_TOKENS"));
    for (timeout, temperature) in [(Some(0.0), None), (Some(f64::NAN), None), (None, Some(f64::INFINITY))] {
        refused(Options { timeout, temperature, ..base_url(HERE) }, &[]);
    }
    for param in ["seed", "=1", "stop=[", "x={\"a\":"] {
        refused(Options { param: vec![param.into()], ..base_url(HERE) }, &[]);
    }
}

#[test]
fn headers_and_parameters_in_each_spelling() {
    assert_eq!(header_pair("X-A=b:c", "--header").unwrap(), ("X-A", Some("b:c")));
    assert_eq!(
        header_pair("Authorization: Basic a=b", "--header").unwrap(),
        ("Authorization", Some("Basic a=b"))
    );
    assert_eq!(header_pair("X-A: :=b", "--header").unwrap(), ("X-A", Some(":=b")));
    assert_eq!(header_pair("X-A=", "--header").unwrap(), ("X-A", Some("")));
    assert_eq!(header_pair("User-Agent: ", "--header").unwrap(), ("User-Agent", None));
    assert_eq!(param_pair("seed=7").unwrap(), ("seed", Value::from(7)));
    assert_eq!(param_pair("stop=[\"a=b\"]").unwrap(), ("stop", serde_json::json!(["a=b"])));
    assert_eq!(param_pair("reasoning_effort=low").unwrap(), ("reasoning_effort", Value::from("low")));
}
