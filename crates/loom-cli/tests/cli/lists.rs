//! `loom models` and `loom providers`.

use loom_testkit::{Emulator, Script};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, serve};

#[tokio::test(flavor = "multi_thread")]
async fn models_one_per_line_or_as_json() {
    let server = serve(Emulator::new().model("a").model("b/c")).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    assert_eq!(sandbox.loom(&["models", "--base-url", &url]).quiet(), "a\nb/c\n");
    assert_eq!(sandbox.loom(&["models", "--json", "--base-url", &url]).quiet(), "[\"a\",\"b/c\"]\n");

    let none = serve(Script::new([]).models(Vec::<String>::new())).await;
    let done = sandbox.loom(&["models", "--base-url", &none.base_url()]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), ""));
    assert!(done.err.contains("serves no models"));

    let nobody = sandbox.loom(&["models", "--json", "--base-url", "http://127.0.0.1:9/v1"]);
    assert_eq!(nobody.code, Some(1));
    assert_eq!(serde_json::from_str::<Value>(&nobody.out).unwrap()["kind"], "connection");
}

#[test]
fn providers_with_those_of_the_file_and_without_keys() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "loom.toml",
        "[providers.acme]\ntitle = 'Acme'\nbase_url = 'https://api.acme.example/v1'\nkey_env = ['ACME_KEY']\n\
         [endpoints.office]\nbase_url = 'https://office.example/v1?sig=hidden'\nmodel = 'm'\napi_key = { env = 'OFFICE_KEY' }\n",
    );
    let env =
        [("DEEPSEEK_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), ("OFFICE_KEY", "sk-2")];
    let table = sandbox.loom_with(&["providers"], &env, "").quiet();
    let row =
        |name: &str| table.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_default();
    assert!(row("deepseek").contains("DEEPSEEK_API_KEY (set)"), "{table}");
    assert!(row("openai").contains("http://127.0.0.1:1/v1 (OPENAI_BASE_URL)"), "{table}");
    assert!(row("openai").contains("OPENAI_API_KEY (not set)"));
    assert!(
        row("acme").contains("ACME_KEY (not set)") && row("acme").contains("https://api.acme.example/v1")
    );
    assert!(row("office").contains("OFFICE_KEY (set)") && row("office").contains(" m "));
    assert!(!table.contains("sk-") && !table.contains("hidden") && !table.contains('\u{1b}'));

    let list = sandbox.loom_with(&["providers", "--json"], &env, "").quiet();
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let find = |name: &str| list.iter().find(|entry| entry["name"] == name).cloned().unwrap_or_default();
    assert_eq!(find("deepseek")["key_is_set"], true);
    assert_eq!(find("office")["kind"], "endpoint");
    assert_eq!(find("acme")["key_env"], json!(["ACME_KEY"]));
    assert_eq!(find("openai")["source"], "built-in");
}
