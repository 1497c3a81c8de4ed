//! Styles are right where the text is plain Markdown, and never change the text.

use super::*;

/// The styled text with readable codes: `{b}` for the style's meaning, `{/}` for its end.
fn shown(pieces: &[&str]) -> String {
    let mut markdown = Markdown::default();
    let mut out: String = pieces.iter().map(|piece| markdown.push(piece)).collect();
    out.push_str(&markdown.finish());
    let (bold, italic) = (Style::new().bold(), Style::new().italic());
    // The longer codes first: they begin with the shorter ones.
    let names = [("h", HEADING), ("BI", bold.italic()), ("m", MARKER), ("i", BULLET), ("c", CODE)];
    for (name, style) in names.into_iter().chain([("B", bold), ("I", italic)]) {
        out = out.replace(&style.to_string(), &format!("{{{name}}}"));
    }
    out.replace("\u{1b}[0m", "{/}")
}

fn plain(styled: &str) -> String {
    let mut out = String::new();
    let mut rest = styled;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[test]
fn blocks() {
    assert_eq!(shown(&["## Title\ntext"]), "{h}## Title{/}\ntext");
    assert_eq!(shown(&["- one\n  * two\n10. ten\n"]), "{i}- {/}one\n{i}  * {/}two\n{i}10. {/}ten\n");
    assert_eq!(shown(&["> said\n"]), "{m}>{/}{I} said{/}\n");
    assert_eq!(shown(&["#hash 2024 -x --- 3.14"]), "#hash 2024 -x --- 3.14");
    assert_eq!(shown(&["---\n2024 was\n-x\n"]), "---\n2024 was\n-x\n");
}

#[test]
fn inline() {
    assert_eq!(shown(&["a **b** c"]), "a {m}**{/}{B}b{/}{m}**{/} c");
    assert_eq!(shown(&["a *b* `c*` d"]), "a {m}*{/}{I}b{/}{m}*{/} {m}`{/}{c}c*{/}{m}`{/} d");
    assert_eq!(shown(&["***x***"]), "{m}***{/}{BI}x{/}{m}***{/}");
    assert_eq!(shown(&["``a`b``"]), "{m}``{/}{c}a`b{/}{m}``{/}");
    for same in ["2**10", "a * b * c", "\\*no\\*", "5*3", "x**", "`", "a `"] {
        assert_eq!(shown(&[same]), same);
    }
}

#[test]
fn a_style_ends_with_its_line() {
    assert_eq!(shown(&["**open\nnext"]), "{m}**{/}{B}open{/}\nnext");
}

#[test]
fn fenced_code() {
    let text = "```py\n# no *heading*\n``\n```\nafter `x`";
    assert_eq!(
        shown(&[text]),
        "{m}```py{/}\n{c}# no *heading*{/}\n{c}``{/}\n{m}```{/}\nafter {m}`{/}{c}x{/}{m}`{/}"
    );
    assert_eq!(shown(&["~~~~\n~~~\n~~~~\nx"]), "{m}~~~~{/}\n{c}~~~{/}\n{m}~~~~{/}\nx");
}

#[test]
fn inline_code_in_three_backticks_opens_no_fence() {
    assert_eq!(shown(&["```x``` is\nplain"]), "{m}```x```{/} is\nplain");
}

#[test]
fn words_appear_as_they_arrive() {
    let mut markdown = Markdown::default();
    assert_eq!(plain(&markdown.push("Hel")), "Hel");
    assert_eq!(plain(&markdown.push("lo **wor")), "lo **wor");
    assert_eq!(plain(&markdown.push("ld*")), "ld");
    assert_eq!(plain(&markdown.push("*")), "");
    assert_eq!(plain(&markdown.finish()), "**");
}

#[test]
fn the_text_is_never_changed_however_it_is_split() {
    let text = "# T *x*\n\n  - a **b** `c` 2**10 \\*z\n> q `open\n```rust\nfn main() {}\n  ```  \n~~~\n```\n~~~~\n1) x\n\
                12345678901. no\n***\n**a\n`` ` ``\n####### seven\n\t* tab 表 *格* é\n*";
    let whole = {
        let mut markdown = Markdown::default();
        markdown.push(text) + &markdown.finish()
    };
    assert_eq!(plain(&whole), text);
    let chars: Vec<char> = text.chars().collect();
    for size in 1..12 {
        let mut markdown = Markdown::default();
        let mut out: String =
            chars.chunks(size).map(|piece| markdown.push(&piece.iter().collect::<String>())).collect();
        out.push_str(&markdown.finish());
        assert_eq!(out, whole, "pieces of {size}");
    }
}
