//! Which endpoint is asked: flags, variables, `loom.toml`.

use crate::sandbox::{Sandbox, emulator, last_key, serve};
use loom_testkit::{Emulator, Piece, RecordedRequest, Reply, Server};

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_loom_toml_brings_its_key_and_its_settings() {
    let server = serve(Emulator::new().model("m").model("big").api_key("sk-office")).await;
    let sandbox = Sandbox::new();
    let file = format!(
        "[endpoints.office]\nbase_url = '{}'\nmodel = 'm'\napi_key = {{ command = 'echo sk-office' }}\n\
         headers = {{ X-Team = 'search' }}\nparams = {{ temperature = 0.2, seed = 1 }}\n",
        server.base_url()
    );
    let path = sandbox.file("elsewhere/my.toml", &file);
    let args = ["run", "hi", "-e", "office", "--config", &path, "--temperature", "0.9"];
    sandbox.loom(&args).quiet();
    let request = server.requests().pop().unwrap();
    assert_eq!(last_key(&server).as_deref(), Some("Bearer sk-office"));
    assert_eq!(request.header("x-team"), Some("search"));
    let body = request.json();
    assert_eq!((&body["model"], &body["temperature"], &body["seed"]), (&"m".into(), &0.9.into(), &1.into()));

    // LOOM_* wins over the file, a flag over both.
    let env = [("LOOM_ENDPOINT", "office"), ("LOOM_CONFIG", &path), ("LOOM_MODEL", "big")];
    sandbox.loom_with(&["run", "hi"], &env, "").quiet();
    assert_eq!(server.requests().pop().unwrap().json()["model"], "big");
    sandbox.loom_with(&["run", "hi", "--model", "m"], &env, "").quiet();
    assert_eq!(server.requests().pop().unwrap().json()["model"], "m");

    let unknown = sandbox.loom(&["run", "hi", "-e", "offise", "--config", &path]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("it has: office"), "{unknown:?}");
    let path = sandbox.file("empty.toml", "[endpoints.a]\nmodel = 'm'\n[pools.p]\nmembers = ['a']\n");
    for name in ["a", "p"] {
        let env = [("OPENAI_BASE_URL", &*server.base_url())];
        let refused = sandbox.loom_with(&["run", "hi", "-e", name, "--config", &path], &env, "");
        assert_eq!(refused.code, Some(2));
        assert!(refused.err.contains("endpoint \"a\" has neither base_url nor provider"), "{refused:?}");
    }
    let no_file = sandbox.loom(&["run", "hi", "-e", "office"]);
    assert_eq!(no_file.code, Some(2));
    assert!(no_file.err.contains("there is no loom.toml"), "{no_file:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_may_be_called_like_a_provider() {
    let server = emulator().await;
    let sandbox = Sandbox::new();
    let path =
        sandbox.file("loom.toml", &format!("[endpoints.openai]\nbase_url = '{}'\n", server.base_url()));
    sandbox.loom(&["run", "hi", "-e", "openai", "--config", &path]).quiet();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_default_counts_unless_the_file_just_lies_there() {
    let server = emulator().await;
    let sandbox = Sandbox::new();
    let text = format!("default = 'home'\n[endpoints.home]\nbase_url = '{}'\n", server.base_url());

    sandbox.file("loom.toml", &text);
    let refused = sandbox.loom(&["run", "hi"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("-e home"), "it says how to choose: {refused:?}");
    std::fs::remove_file(sandbox.path().join("loom.toml")).unwrap();

    sandbox.file(".config/loom/loom.toml", &text);
    sandbox.loom(&["run", "hi"]).quiet();
    assert_eq!(server.requests().last().unwrap().path, "/v1/chat/completions");

    // Whoever names a place gets that.
    let other = emulator().await;
    sandbox.loom_with(&["run", "hi"], &[("LOOM_BASE_URL", &other.base_url())], "").quiet();
    let flagged = emulator().await;
    let args = ["run", "hi", "--base-url", &flagged.base_url()];
    sandbox.loom_with(&args, &[("LOOM_BASE_URL", &other.base_url())], "").quiet();
    let asked = |server: &Server| {
        server.requests().iter().filter(|request| request.path.ends_with("/chat/completions")).count()
    };
    assert_eq!([&server, &other, &flagged].map(asked), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_own_variables_come_last() {
    let server = emulator().await;
    let url = server.base_url();
    let env = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", "sk-openai"), ("LOOM_MODEL", "m")];
    Sandbox::new().loom_with(&["run", "hi"], &env, "").quiet();
    assert_eq!(last_key(&server).as_deref(), Some("Bearer sk-openai"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_loom_toml_fails_over_and_ends_within_the_timeout() {
    let good = serve(Emulator::new().model("m")).await;
    let silent = Server::start(|_: &RecordedRequest| Reply::raw("").then(Piece::Hang)).await.unwrap();
    let sandbox = Sandbox::new();
    let file = format!(
        "[endpoints.dead]\nbase_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'\n\
         [endpoints.good]\nbase_url = '{}'\n[endpoints.silent]\nbase_url = '{}'\nmodel = 'm'\n\
         [pools.both]\nmembers = ['dead']\nfallbacks = ['good']\n\
         [pools.stuck]\nmembers = ['dead']\nfallbacks = ['silent']\ntimeout = 60\n",
        good.base_url(),
        silent.base_url()
    );
    let path = sandbox.file("pools.toml", &file);
    let answered =
        sandbox.loom(&["run", "hi", "-e", "both", "--config", &path, "--header", "X-Team: search"]);
    assert!(answered.code == Some(0) && answered.out.contains("hi"), "{answered:?}");
    assert_eq!(good.requests().pop().unwrap().header("x-team"), Some("search"));
    let late = sandbox.loom(&["run", "hi", "-e", "stuck", "--config", &path, "--timeout", "0.5"]);
    assert_eq!(late.code, Some(1));
    assert!(
        late.err.contains("0.5 s (total): dead: connection") && late.err.contains("silent had not"),
        "{late:?}"
    );
}
