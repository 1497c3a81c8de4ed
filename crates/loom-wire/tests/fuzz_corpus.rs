//! The saved corpus of the fuzz targets, and texts put together from marks, through what the targets promise.
//! `scripts/fuzz.sh` finds more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(unreachable_pub, reason = "it is a library where it is fuzzed")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

use proptest::prelude::*;

fn replay(target: &str, run: fn(&[u8])) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/corpus/{target}.json"));
    let inputs: Vec<String> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(inputs.len() > 20, "{target} has {} inputs", inputs.len());
    for input in inputs {
        // A character for each byte.
        let bytes: Vec<u8> = input.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        run(&bytes);
    }
}

macro_rules! targets {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), targets::$name);
        })*
    };
}

targets! { sse, chunk, fold, think, calls, arguments, }

/// The marks of a target's dictionary.
fn marks(target: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/dictionaries/{target}.txt"));
    let text = std::fs::read_to_string(file).unwrap();
    let marks: Vec<Vec<u8>> =
        text.lines().filter_map(|line| unescape(line.strip_prefix('"')?.strip_suffix('"')?)).collect();
    assert!(marks.len() > 5);
    marks
}

/// libFuzzer writes what is not plain as `\xAB`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        if let [b'\\', b'x', a, b, tail @ ..] = rest {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&[*a, *b]).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// Marks and bits of other text in any order, behind a seed.
fn like(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let piece = prop_oneof![
        5 => prop::sample::select(marks(target)),
        1 => "[ \n{}\\[\\]\"':,<>/|a-f0-9]{0,6}".prop_map(String::into_bytes),
        1 => ".{0,4}".prop_map(String::into_bytes),
    ];
    (any::<u8>(), prop::collection::vec(piece, 0..14)).prop_map(|(seed, pieces)| {
        let mut data = vec![seed];
        data.extend(pieces.concat());
        data
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn thinking_is_read_the_same_however_it_is_cut_up(data in like("think")) {
        targets::think(&data);
    }

    #[test]
    fn calls_are_read_the_same_however_they_are_cut_up(data in like("calls")) {
        targets::calls(&data);
    }

    #[test]
    fn arguments_are_an_object_or_a_reason(data in like("arguments")) {
        targets::arguments(&data[1..]);
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut_up(data in like("sse")) {
        targets::sse(&data);
    }
}
