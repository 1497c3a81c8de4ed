//! A tag against the start of a text that may go on.

/// How a text and a tag meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meet {
    /// The text begins with the tag.
    Whole,
    /// The text is all of a part of the tag: more will tell.
    Part,
    /// The text begins otherwise.
    Not,
}

/// Holds `tag` against the start of `text`; ASCII letters count in any case.
pub(crate) fn meet(text: &str, tag: &str) -> Meet {
    let (text, tag) = (text.as_bytes(), tag.as_bytes());
    let shared = text.len().min(tag.len());
    match (text.get(..shared), tag.get(..shared)) {
        (Some(a), Some(b)) if a.eq_ignore_ascii_case(b) => {
            if shared == tag.len() {
                Meet::Whole
            } else {
                Meet::Part
            }
        }
        _ => Meet::Not,
    }
}

/// Holds several tags against the start of `text`: the best of how they meet.
pub(crate) fn any(text: &str, tags: &[&str]) -> Meet {
    let meets = || tags.iter().map(|tag| meet(text, tag));
    if meets().any(|meet| meet == Meet::Whole) {
        Meet::Whole
    } else if meets().any(|meet| meet == Meet::Part) {
        Meet::Part
    } else {
        Meet::Not
    }
}

/// The first place in `text` where one of `tags` begins, with the tag if it is there whole, or `None` in its place if
/// the text ends within it. `tags` are tried in their order.
pub(crate) fn find<'t>(
    text: &str,
    tags: impl Iterator<Item = &'t str> + Clone,
) -> Option<(usize, Option<&'t str>)> {
    // Every tag begins with `<`, `[`, a character of three bytes, or `]` and then `<`.
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let at = match memchr::memchr3(b'<', b'[', 0xe2, rest) {
            Some(at) => at,
            None if rest.last() == Some(&b']') => rest.len() - 1,
            None => return None,
        };
        let mut at = from + at;
        if at > from && bytes.get(at) == Some(&b'<') && bytes.get(at - 1) == Some(&b']') {
            at -= 1;
        }
        let rest = text.get(at..).unwrap_or_default();
        let mut part = false;
        for tag in tags.clone() {
            match meet(rest, tag) {
                Meet::Whole => return Some((at, Some(tag))),
                Meet::Part => part = !rest.is_empty(),
                Meet::Not => {}
            }
        }
        if part {
            return Some((at, None));
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_there_begun_or_not_there() {
        assert_eq!(meet("<think>x", "<think>"), Meet::Whole);
        assert_eq!(meet("<THI", "<think>"), Meet::Part);
        assert_eq!(meet("<thx", "<think>"), Meet::Not);
        let tags = ["</think>", "◁/think▷"];
        let find = |text| find(text, tags.into_iter());
        assert_eq!(find("a < b</think>c"), Some((5, Some("</think>"))));
        assert_eq!(find("“a” ◁/think▷"), Some((8, Some("◁/think▷"))));
        assert_eq!(find("a </th"), Some((2, None)));
        assert_eq!(find("a </th b"), None);
    }
}
