//! Keys: where they come from, where they go, and that they are never printed.

use loom_testkit::{Emulator, Reply, Script};
use serde_json::json;

use crate::sandbox::{Sandbox, emulator, last_key, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_need_not_stand_in_the_shells_history() {
    let server = emulator().await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let file = sandbox.file("key", "sk-file\nanother line\n");
    for (given, expected) in [
        ("sk-plain".to_owned(), "Bearer sk-plain"),
        ("env:MY_KEY".to_owned(), "Bearer sk-env"),
        (format!("cmd:cat {file}"), "Bearer sk-file"),
    ] {
        let args = ["run", "hi", "--base-url", &url, "--api-key", &given];
        sandbox.loom_with(&args, &[("MY_KEY", "sk-env")], "").quiet();
        assert_eq!(last_key(&server).as_deref(), Some(expected));
    }
    sandbox.loom(&["run", "hi", "--base-url", &url]).quiet();
    assert_eq!(last_key(&server), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn loom_api_key_goes_only_where_loom_base_url_leads() {
    let (here, there) = (emulator().await, serve(Emulator::new().model("m").api_key("sk-there")).await);
    let sandbox = Sandbox::new();
    let env = [("LOOM_BASE_URL", &*here.base_url()), ("LOOM_API_KEY", "sk-here")]
        .map(|(name, value)| (name, value.to_owned()));
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();

    sandbox.loom_with(&["run", "hi"], &env, "").quiet();
    assert_eq!(last_key(&here).as_deref(), Some("Bearer sk-here"));

    let refused =
        sandbox.loom_with(&["run", "hi", "--model", "m", "--base-url", &there.base_url()], &env, "");
    assert_eq!(last_key(&there), None);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("LOOM_API_KEY is set, but"), "{refused:?}");

    let args = ["run", "hi", "--base-url", &there.base_url(), "--api-key", "sk-there"];
    sandbox.loom_with(&args, &env, "").quiet();
    assert_eq!(last_key(&there).as_deref(), Some("Bearer sk-there"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_provider_key_goes_to_an_address_given_on_the_command_line() {
    let server = emulator().await;
    let args = ["run", "hi", "--model", "m", "--llm", "openai", "--base-url", &server.base_url()];
    Sandbox::new().loom_with(&args, &[("OPENAI_API_KEY", "sk-openai")], "").quiet();
    assert_eq!(last_key(&server), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_printed() {
    const KEY: &str = "sk-very-secret";
    let refusal = || Reply::json(401, &json!({"error": {"message": "wrong key"}}));
    let server = serve(Script::new((0..20).map(|_| refusal()))).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let file = format!(
        "[providers.acme]\nbase_url = '{url}'\nkey_env = ['ACME_KEY']\n\
         [endpoints.office]\nbase_url = '{url}'\nmodel = 'm'\napi_key = '{KEY}'\n\
         [endpoints.query]\nbase_url = '{url}?key={KEY}'\nmodel = 'm'\n"
    );
    let config = sandbox.file("loom.toml", &file);
    let broken =
        sandbox.file("broken.toml", &format!("[endpoints.x]\napi_key = '{KEY}'\nbase_ulr = '{KEY}'\n"));
    let header = format!("Authorization: Bearer {KEY}");
    let env =
        [("ACME_KEY", KEY), ("LOOM_API_KEY", KEY), ("OPENAI_API_KEY", KEY), ("LOOM_BASE_URL", url.as_str())];
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["chat", "--help"],
        &["providers"],
        &["providers", "--json"],
        &["run", "hi"],
        &["run", "hi", "--json"],
        &["run", "hi", "--api-key", KEY, "--no-such-option"],
        &["run", "hi", "--api-key", &format!("env:{}", "NOT_SET"), "--base-url", &url],
        &["run", "hi", "--header", &header, "--base-url", &url],
        &["run", "hi", "--header", KEY, "--base-url", &url],
        &["run", "hi", "--header", &format!("{header}\u{7f}"), "--base-url", &url],
        &["run", "hi", "--api-key", &format!("{KEY}\u{7f}"), "--base-url", &url],
        &["run", "hi", "--base-url", &format!("http://user:{KEY}@127.0.0.1:9/v1")],
        &["run", "hi", "-e", "office"],
        &["run", "hi", "-e", "query"],
        &["run", "hi", "--llm", "acme", "--json"],
        &["run", "hi", "-e", "x", "--config", &broken],
        &["models", "-e", "office", "--json"],
        &["chat", "-e", "office"],
    ] {
        let mut with_config = args.to_vec();
        if !args.contains(&"--help") && !args.contains(&"--config") {
            with_config.extend(["--config", &config]);
        }
        let done = sandbox.loom_with(&with_config, &env, "hi\n/models\n");
        assert!(!done.out.contains(KEY) && !done.err.contains(KEY), "{args:?}: {done:?}");
    }
}
