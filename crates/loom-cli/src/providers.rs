//! `loom providers`: the names that `--llm` and `-e` take, and what stands behind them. Of a key it tells the name of
//! its variable and whether that is set, never more.

use loom::endpoint::BaseUrl;
use loom::model::config::{EndpointConfig, KeySource};
use loom::{Config, Provider, provider};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::args::ProvidersArgs;
use crate::connect::process_env;
use crate::failure::Failure;
use crate::screen::{BOLD, DIM, Screen};

const COLUMNS: [&str; 5] = ["NAME", "TITLE", "BASE URL", "DEFAULT MODEL", "KEY"];

/// A name, as it is told.
struct Row {
    name: String,
    title: String,
    base_url: Option<String>,
    key: String,
    model: Option<String>,
    json: Value,
}

/// Runs the command.
pub(crate) fn providers(args: &ProvidersArgs, screen: &Screen) -> Result<(), Failure> {
    let config = match &args.config {
        Some(path) => Some(Config::load(path)?),
        None => Config::find()?,
    };
    let builtin: Vec<Row> =
        provider::builtin().iter().map(|provider| provider_row(provider, "built-in")).collect();
    let mut own = Vec::new();
    if let Some(config) = &config {
        let path = config.path().display().to_string();
        own.extend(config.providers().map(|provider| provider_row(provider, &path)));
        let names = config.endpoint_names();
        let endpoints = names.iter().filter_map(|name| Some((name, config.endpoint(name)?)));
        own.extend(endpoints.map(|(name, endpoint)| endpoint_row(name, endpoint, &path)));
    }
    if args.json {
        let list: Vec<Value> = builtin.into_iter().chain(own).map(|row| row.json).collect();
        screen.out(&format!("{}\n", Value::Array(list)))?;
        return Ok(());
    }
    let rows = |rows: &[Row]| rows.iter().map(Row::cells).collect::<Vec<_>>();
    let widths = widths(&[rows(&builtin), rows(&own)].concat());
    screen.line(BOLD, &line(&COLUMNS.map(str::to_owned), &widths))?;
    for row in rows(&builtin) {
        screen.out(&format!("{}\n", screen.foreign(&line(&row, &widths))))?;
    }
    if let Some(config) = config.filter(|_| !own.is_empty()) {
        screen.line(DIM, &format!("\nfrom {}:", config.path().display()))?;
        for row in rows(&own) {
            screen.out(&format!("{}\n", screen.foreign(&line(&row, &widths))))?;
        }
    }
    Ok(())
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            self.name.clone(),
            self.title.clone(),
            or_dash(&self.base_url),
            or_dash(&self.model),
            self.key.clone(),
        ]
    }
}

fn provider_row(provider: &Provider, source: &str) -> Row {
    // The address that counts now: a variable that is set wins over the provider's own.
    let moved_by = provider.base_url_env.iter().find_map(|name| Some((name, process_env(name)?)));
    let address = moved_by.as_ref().map(|(_, url)| url).or(provider.base_url.as_ref());
    let address = address.map(|url| shown(url));
    let set: Vec<&String> = provider.key_env.iter().filter(|name| process_env(name).is_some()).collect();
    let key = match (set.first(), provider.key_env.is_empty()) {
        (Some(name), _) => format!("{name} (set)"),
        (None, true) => if provider.local { "not needed" } else { "-" }.to_owned(),
        (None, false) if provider.local => format!("{} (not needed)", provider.key_env.join(" or ")),
        (None, false) => format!("{} (not set)", provider.key_env.join(" or ")),
    };
    let json = json!({
        "kind": "provider",
        "name": provider.name,
        "title": provider.title,
        "aliases": provider.aliases,
        "base_url": address,
        "base_url_env": provider.base_url_env,
        "key_env": provider.key_env,
        "key_is_set": !set.is_empty(),
        "default_model": provider.default_model,
        "local": provider.local,
        "docs": provider.docs,
        "source": source,
    });
    let base_url = match (address, moved_by) {
        (Some(url), Some((name, _))) => Some(format!("{url} ({name})")),
        (url, _) => url,
    };
    let title = provider.title.clone();
    Row { name: provider.name.clone(), title, base_url, key, model: provider.default_model.clone(), json }
}

fn endpoint_row(name: &str, endpoint: &EndpointConfig, source: &str) -> Row {
    let base_url = endpoint.base_url().map(shown);
    let (key, variable, is_set) = match endpoint.key_source() {
        KeySource::None => ("-".to_owned(), None, false),
        KeySource::File => ("in the file".to_owned(), None, true),
        KeySource::Command => ("from a command".to_owned(), None, true),
        KeySource::OAuth2 => ("from OAuth2".to_owned(), None, true),
        KeySource::Several => ("several".to_owned(), None, true),
        KeySource::Variable(name) => {
            let is_set = process_env(name).is_some();
            (format!("{name} ({})", if is_set { "set" } else { "not set" }), Some(name), is_set)
        }
    };
    let json = json!({
        "kind": "endpoint",
        "name": name,
        "provider": endpoint.provider(),
        "base_url": base_url,
        "key_env": variable.into_iter().collect::<Vec<_>>(),
        "key_is_set": is_set,
        "default_model": endpoint.model(),
        "source": source,
    });
    let title = match endpoint.provider() {
        Some(provider) => format!("endpoint ({provider})"),
        None => "endpoint".to_owned(),
    };
    Row { name: name.to_owned(), title, base_url, key, model: endpoint.model().map(str::to_owned), json }
}

/// A URL without what may be secret in it; one that cannot be read is not repeated.
fn shown(url: &str) -> String {
    BaseUrl::parse(url).map_or_else(|_| "(not a URL)".to_owned(), |url| url.to_string())
}

fn widths(rows: &[[String; 5]]) -> [usize; 5] {
    let mut widths = COLUMNS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    widths
}

fn line(cells: &[String; 5], widths: &[usize; 5]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let blanks = width.saturating_sub(cell.width()) + 2;
        format!("{cell}{}", " ".repeat(blanks))
    });
    padded.collect::<String>().trim_end().to_owned()
}
