//! What is known about an endpoint before it is asked: the server's and the model family's layers of its [`Profile`].
//!
//! `defaults ← server family ← model family ← learnt ← the user's own`. The first layer is [`Profile::default`], the next
//! two are rows of `servers.toml`, the fourth is [`adapt`](crate::model::adapt)'s, the last comes with the settings.

use std::sync::OnceLock;

use loom_wire::Profile;
use serde::Deserialize;

use crate::model::provider::Provider;

/// `servers.toml`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tables {
    server: Vec<Server>,
    model: Vec<ModelFamily>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    name: String,
    profile: Profile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFamily {
    /// One of these stands in the model's name, in lower case.
    names: Vec<String>,
    profile: Profile,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    // The file is part of the crate, and a test reads it: an unreadable table cannot be released.
    TABLES.get_or_init(|| toml::from_str(include_str!("servers.toml")).unwrap_or_default())
}

/// What is known about a model at an endpoint.
///
/// `server` is what the endpoint's answers gave away; until they do, a provider's own address speaks for itself, and the
/// name of a server that users run themselves counts wherever it is.
pub(crate) fn known(provider: &Provider, at_home: bool, server: Option<&str>, model: &str) -> Profile {
    let mut profile = Profile::default();
    let named = (at_home || provider.local).then_some(provider.name.as_str());
    if let Some(name) = server.or(named)
        && let Some(server) = tables().server.iter().find(|server| server.name == name)
    {
        profile.overlay(&server.profile);
    }
    if at_home {
        profile.overlay(&provider.profile);
    }
    let model = model.to_lowercase();
    for family in &tables().model {
        if family.names.iter().any(|name| model.contains(name.as_str())) {
            profile.overlay(&family.profile);
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::server;
    use crate::model::provider;
    use loom_wire::profile::{IdForm, SystemSupport};

    #[test]
    fn the_tables_can_be_read_and_name_servers_that_exist() {
        let tables: Tables = toml::from_str(include_str!("servers.toml")).unwrap();
        let mut seen = std::collections::HashSet::new();
        for server in &tables.server {
            assert!(seen.insert(&server.name), "{} has two rows", server.name);
            assert!(!server.profile.is_empty(), "{}", server.name);
            let exists =
                provider::find(&server.name).is_some() || server::names().any(|name| name == server.name);
            assert!(exists, "no provider and no fingerprint is called {}", server.name);
        }
        for family in &tables.model {
            assert!(
                !family.profile.is_empty() && family.names.iter().all(|name| *name == name.to_lowercase())
            );
        }
    }

    #[test]
    fn layers_lie_over_one_another() {
        let openai = provider::find("openai").unwrap();
        assert_eq!(
            known(&openai, true, None, "gpt-x").max_tokens_field.as_deref(),
            Some("max_completion_tokens")
        );
        assert!(known(&openai, false, None, "gpt-x").is_empty(), "at another address may be any server");
        assert_eq!(known(&openai, false, Some("fastchat"), "x").system, Some(SystemSupport::First));
        assert_eq!(known(&openai, false, None, "Devstral-Small").tool_call_ids, Some(IdForm::Short));
        let fastchat = provider::find("fastchat").unwrap();
        assert!(!known(&fastchat, false, None, "x").is_empty());
    }
}
