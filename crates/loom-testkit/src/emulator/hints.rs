//! What a text has to offer for the arguments of a tool: the names and the numbers in it.

use std::collections::VecDeque;

use serde_json::Number;

/// After one of these words stands, most likely, what an argument is about: "the weather **in Paris**".
const PREPOSITIONS: &[&str] = &["in", "at", "for", "from", "to", "of", "near", "about", "on", "with"];
/// The quotation marks, opening and closing.
const QUOTES: &[(char, char)] =
    &[('"', '"'), ('“', '”'), ('「', '」'), ('『', '』'), ('《', '》'), ('`', '`')];

/// The names in a text, the likeliest first: quoted ones, capitalised ones after a preposition, other
/// capitalised ones.
///
/// A word that only starts a sentence is capitalised without being a name, and is left out. Capitalised words
/// in a row are one name: "New York".
pub(super) fn names(text: &str) -> VecDeque<String> {
    let mut names = quoted(text);
    let (after_preposition, others): (Vec<_>, Vec<_>) =
        capitalised(text).into_iter().partition(|name| name.after_preposition);
    for name in after_preposition.into_iter().chain(others) {
        if !names.iter().any(|known| known.contains(&name.text)) {
            names.push_back(name.text);
        }
    }
    names
}

/// The numbers in a text, in order.
pub(super) fn numbers(text: &str) -> VecDeque<Number> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')
        .map(|run| run.trim_end_matches(['.', '-']))
        .filter_map(|run| {
            let whole = run.parse::<i64>().ok().map(Number::from);
            whole.or_else(|| run.parse::<f64>().ok().and_then(Number::from_f64))
        })
        .collect()
}

struct Name {
    text: String,
    after_preposition: bool,
}

fn quoted(text: &str) -> VecDeque<String> {
    let mut found = VecDeque::new();
    let mut rest = text;
    while let Some((start, (open, close))) = rest
        .char_indices()
        .find_map(|(at, c)| QUOTES.iter().find(|(open, _)| *open == c).map(|quotes| (at, *quotes)))
    {
        let Some((_, inside)) = rest.split_at(start).1.split_once(open) else {
            break;
        };
        let Some((quote, after)) = inside.split_once(close) else {
            break;
        };
        if !quote.trim().is_empty() {
            found.push_back(quote.trim().to_owned());
        }
        rest = after;
    }
    found
}

fn capitalised(text: &str) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    let mut starts_sentence = true;
    let mut continues_name = false;
    let mut after_preposition = false;
    for token in text.split_whitespace() {
        let word = token.trim_matches(|c: char| !c.is_alphanumeric());
        let is_name = !starts_sentence && word != "I" && word.chars().next().is_some_and(char::is_uppercase);
        if is_name {
            match names.last_mut().filter(|_| continues_name) {
                Some(name) => {
                    name.text.push(' ');
                    name.text.push_str(word);
                }
                None => names.push(Name { text: word.to_owned(), after_preposition }),
            }
        }
        starts_sentence = token.ends_with(['.', '!', '?', ':']);
        continues_name = is_name && token.ends_with(char::is_alphanumeric);
        after_preposition = PREPOSITIONS.contains(&word.to_lowercase().as_str());
    }
    names
}
