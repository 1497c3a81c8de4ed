//! Texts with gaps: what a server sends, written down as it is seen on the wire, with names where values go.
//!
//! | in the text | becomes |
//! |---|---|
//! | `$name` | the value as JSON |
//! | `{name}` | the value as plain text; in JSON, as it stands inside a string |
//! | `<?name …?>` | what stands in it if there is such a value and it is not null, else nothing |
//! | `<!name …!>` | what stands in it if there is no such value or it is null, else nothing |
//! | a line break and the blanks after it | nothing, so that a long line can be broken |
//!
//! `{hex16}`, `{alnum9}`, `{digits9}`, `{uuid}` are ids of that length: the same for the same answer, on any day.

use serde_json::Value;

/// What fills a gap.
#[derive(Debug, Clone)]
enum Fill {
    Value(Value),
    /// JSON that is already text: kept as it is, blanks included.
    Json(String),
}

/// The values of the gaps of one answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    seed: u64,
    list: Vec<(&'static str, Fill)>,
}

impl Values {
    /// No values yet; ids follow from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, list: Vec::new() }
    }

    /// Adds a value, or replaces it.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) -> &mut Self {
        self.list.push((name, Fill::Value(value.into())));
        self
    }

    /// The same with one value more.
    pub(super) fn with(&self, name: &'static str, value: impl Into<Value>) -> Self {
        let mut values = self.clone();
        values.set(name, value);
        values
    }

    /// The same with a piece of JSON more.
    pub(super) fn with_json(&self, name: &'static str, json: impl Into<String>) -> Self {
        let mut values = self.clone();
        values.list.push((name, Fill::Json(json.into())));
        values
    }

    /// The same with other ids.
    pub(super) fn reseeded(&self, seed: u64) -> Self {
        Self { seed, list: self.list.clone() }
    }

    fn get(&self, name: &str) -> Option<&Fill> {
        self.list.iter().rev().find(|(known, _)| *known == name).map(|(_, fill)| fill)
    }

    fn is_there(&self, name: &str) -> bool {
        self.get(name).is_some_and(|fill| !matches!(fill, Fill::Value(Value::Null)))
    }

    fn as_json(&self, name: &str) -> Option<String> {
        self.get(name).map(|fill| match fill {
            Fill::Value(value) => value.to_string(),
            Fill::Json(json) => json.clone(),
        })
    }

    fn as_text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Fill::Value(Value::String(text))) => Some(text.clone()),
            Some(Fill::Value(Value::Null)) => Some(String::new()),
            Some(Fill::Value(other)) => Some(other.to_string()),
            Some(Fill::Json(json)) => Some(json.clone()),
            None => id(self.seed, name),
        }
    }
}

/// Fills a template of JSON.
pub(super) fn json(template: &str, values: &Values) -> String {
    fill(&unfold(template), values, true)
}

/// Fills a template of plain text.
pub(super) fn text(template: &str, values: &Values) -> String {
    fill(template, values, false)
}

/// Takes out line breaks that are followed by blanks.
fn unfold(template: &str) -> String {
    let mut lines = template.split('\n');
    let mut unfolded = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        if !line.starts_with(' ') {
            unfolded.push('\n');
        }
        unfolded.push_str(line.trim_start_matches(' '));
    }
    unfolded
}

fn fill(template: &str, values: &Values, is_json: bool) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(at) = rest.find(['$', '{', '<']) {
        let (before, gap) = rest.split_at(at);
        filled.push_str(before);
        let (replaced, length) =
            gap_at(gap, values, is_json).unwrap_or_else(|| (gap.get(..1).unwrap_or_default().to_owned(), 1));
        filled.push_str(&replaced);
        rest = gap.get(length..).unwrap_or_default();
    }
    filled.push_str(rest);
    filled
}

/// What the gap at the beginning of `text` becomes, and its length; `None` if none begins there.
fn gap_at(text: &str, values: &Values, is_json: bool) -> Option<(String, usize)> {
    for (open, close, wanted) in [("<?", "?>", true), ("<!", "!>", false)] {
        if let Some(optional) = text.strip_prefix(open) {
            let (inside, _) = optional.split_once(close)?;
            let name = name_of(inside);
            let body = inside.get(name.len()..)?.strip_prefix(' ')?;
            let shown = values.is_there(name) == wanted;
            return Some((if shown { fill(body, values, is_json) } else { String::new() }, inside.len() + 4));
        }
    }
    if let Some(after) = text.strip_prefix('$') {
        let name = name_of(after);
        return values.as_json(name).map(|json| (json, name.len() + 1));
    }
    let after = text.strip_prefix('{')?;
    let name = name_of(after);
    if name.is_empty() || !after.get(name.len()..)?.starts_with('}') {
        return None;
    }
    let plain = values.as_text(name)?;
    let shown = if is_json { inside_string(&plain) } else { plain };
    Some((shown, name.len() + 2))
}

fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// A text as it stands between the quotation marks of a JSON string.
fn inside_string(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// An id of the kind that `name` says.
fn id(seed: u64, name: &str) -> Option<String> {
    const HEX: &[u8] = b"0123456789abcdef";
    const ALNUM: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const DIGITS: &[u8] = b"123456789";
    let (alphabet, length) = if name == "uuid" {
        (HEX, 32)
    } else {
        let kinds = [("hex", HEX), ("alnum", ALNUM), ("digits", DIGITS)];
        kinds.iter().find_map(|(kind, alphabet)| {
            let length = name.strip_prefix(kind)?.parse::<usize>().ok()?;
            Some((*alphabet, length))
        })?
    };
    let mut state = seed;
    let mut id: String = (0..length)
        .filter_map(|_| {
            // SplitMix64: ids that look random and are the same for the same seed.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            let at = usize::try_from(z % alphabet.len() as u64).ok()?;
            alphabet.get(at).map(|byte| char::from(*byte))
        })
        .collect();
    if name == "uuid" {
        for at in [8, 13, 18, 23] {
            id.insert(at, '-');
        }
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn gaps_are_filled_as_json_or_as_text() {
        let mut values = Values::new(1);
        values.set("m", "a\"b").set("none", Value::Null);
        let values = values.with_json("raw", "{ }");
        let template = r#"{"m":$m,"t":"is {m}",
            "r":$raw<?none ,"n":$none?><!none ,"n":0!><?m ,"o":"{m}"?>,"x":$none,"y":"{unknown}"}"#;
        let expected = r#"{"m":"a\"b","t":"is a\"b","r":{ },"n":0,"o":"a\"b","x":null,"y":"{unknown}"}"#;
        assert_eq!(json(template, &values), expected);
        assert_eq!(text("is {m}, {none}.", &values), "is a\"b, .");
        assert_eq!(
            json("data: $m\n\ndata: [DONE]\n\n", &values.with("m", json!(1))),
            "data: 1\n\ndata: [DONE]\n\n"
        );
    }

    #[test]
    fn ids_follow_from_the_seed() {
        let one = text("{hex16} {alnum9} {digits9} {uuid}", &Values::new(1));
        assert_eq!(one, text("{hex16} {alnum9} {digits9} {uuid}", &Values::new(1)));
        assert_ne!(one, text("{hex16} {alnum9} {digits9} {uuid}", &Values::new(2)));
        let lengths: Vec<usize> = one.split(' ').map(str::len).collect();
        assert_eq!(lengths, [16, 9, 9, 36]);
    }
}
