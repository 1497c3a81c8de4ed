//! What models write, in every dialect, cut up in every way.

use serde_json::json;

use super::*;
use crate::tool::ToolSpec;

fn request() -> Arc<Request> {
    let mut f = ToolSpec::new("f", "");
    f.parameters = json!({"type": "object", "properties": {
        "a": {"type": "integer"}, "text": {"type": "string"}, "on": {"type": "boolean"}, "list": {"type": "array"},
    }});
    Arc::new(Request { tools: vec![f, ToolSpec::new("get_weather", "")], ..Request::default() })
}

/// The text that stays and the calls (name, arguments, whether they are cut), the same for all ways to cut it up.
fn read(text: &str) -> (String, Vec<(String, String, bool)>) {
    let request = request();
    let run = |pieces: &[&str]| {
        let mut filter = CallFilter::new(Arc::clone(&request), None);
        let (mut ledger, mut out) = (Ledger::default(), Vec::new());
        for piece in pieces {
            filter.push(Cow::Borrowed(piece), &mut out);
        }
        let calls = filter.end(&mut ledger, &mut out);
        assert_eq!(filter.held(), 0);
        assert_eq!(ledger.take().len(), usize::from(!calls.is_empty()));
        let said: String = out
            .iter()
            .map(|event| match event {
                Event::ContentDelta { content } => content.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        (said, calls.into_iter().map(|call| (call.name, call.arguments, call.cut)).collect::<Vec<_>>())
    };
    let whole = run(&[text]);
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    for &at in &ends {
        assert_eq!(run(&[&text[..at], &text[at..]]), whole, "{text:?} split at {at}");
    }
    let singles: Vec<&str> = ends.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
    assert_eq!(run(&singles), whole, "{text:?} in characters");
    whole
}

#[test]
fn calls_are_found_in_every_dialect() {
    for text in [
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
        "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</tool_call>",
        "<tool_call>{'name': 'f', 'arguments': {\"a\": 1}}</tool_call>",
        // A bracket too few, a bracket too many.
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}}</tool_call>",
        "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1}}}</tool_call>",
        "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>",
        "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
        "<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
        "<function=f>{\"a\": 1}</function>",
        "<seed:tool_call>\n<function=f>\n<parameter=a>1</parameter>\n</function>\n</seed:tool_call>",
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
        "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abc123def\"}]",
        "[TOOL_CALLS]f{\"a\": 1}",
        "[TOOL_CALLS]f[ARGS]{\"a\": 1}",
        "[TOOL_CALLS]f[CALL_ID]abc123def[ARGS]{\"a\": 1}",
        "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}<|eom_id|>",
        "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1}}",
        "<|python_tag|>f.call(a=1)",
        "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
        "\n{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1}}\n",
        "[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
        "functools[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
        "```json\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n```",
        "{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
        "[f(a=1)]",
        "<|tool_call_start|>[f(a=1)]<|tool_call_end|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>",
        "<|tool_call_begin|>f<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"a\">1</parameter>\n</invoke>\n</minimax:tool_call>",
        "[TOOL_REQUEST]{\"name\": \"f\", \"arguments\": {\"a\": 1}}[END_TOOL_REQUEST]",
        "<tool_calls>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</tool_calls>",
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]<|/tool_call|>",
        "<|START_ACTION|>[{\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"a\": 1}}]<|END_ACTION|>",
        "<|action_start|><|plugin|>\n{\"name\": \"f\", \"parameters\": {\"a\": 1}}<|action_end|>",
        "<|action_start|> <|plugin|>\n{\"name\": \"f\", \"parameters\": {\"a\": 1}}<|action_end|>\n",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>",
        "<|channel|>commentary to=f<|message|>{\"a\": 1}",
        "<|start|>assistant<|channel|>commentary to=functions.f<|constrain|>json<|message|>{\"a\": 1}<|call|>",
        "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{\"a\": 1}<|call|>",
        "<|start|>assistant<|channel|>analysis to=functions.f code<|message|>{\"a\": 1}<|call|>",
        "<|python_start|>[f(a=1)]<|python_end|>",
        "<|python_start|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1}}<|python_end|><|eom|>",
        "[f(a=1)]<|eot|>",
        "<function_calls>\nf(a=1)\n</function_calls>",
        "<function_calls>[f(a=1)]</function_calls>",
        "<function_calls>\n<invoke name=\"f\">\n<parameter name=\"a\">1</parameter>\n</invoke>\n</function_calls>",
        "<function_call> {\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "<function_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</function_call>",
        "<longcat_tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</longcat_tool_call>",
        "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</TOOLCALL>",
        "<tools>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tools>",
        "<|function_call|>{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "<|tools_prefix|>[{\"f\": {\"a\": 1}}]<|tools_suffix|>",
        "<|tool_call>call:f{a: 1}<tool_call|>",
        "<start_function_call>call:f{a: 1}<end_function_call><start_function_response>",
        "<｜tool_calls_begin｜>\n<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name=\"f\">\n<steptml:parameter name=\"a\">1</steptml:parameter>\n</steptml:invoke><｜tool_call_end｜>\n<｜tool_calls_end｜>",
        "<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜>f\n```json\n{\"a\": 1}\n```<｜tool_call_end｜><｜tool_calls_end｜>",
        "<tool_calls>\n<tool_call>f<tool_sep>\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n</tool_calls>",
        "<tool_calls><tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call></tool_calls>",
        "<|tool_call:start|>f\n<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>\n<|tool_call:end|>",
        "<function name=\"f\"><param name=\"a\">1</param></function>",
        "<function name=\"f\"><param name=\"a\"><![CDATA[1]]></param></function>",
        "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        "<｜DSML｜ calls>\n<｜DSML｜ invoke name=\"f\">\n<｜DSML｜ parameter name=\"a\" string=\"false\">1</｜DSML｜ parameter>\n</｜DSML｜ invoke>\n</｜DSML｜ calls>",
        "<｜GCML｜tool_calls>\n<｜GCML｜invoke name=\"f\">\n<｜GCML｜parameter name=\"a\" string=\"false\">1</｜GCML｜parameter>\n</｜GCML｜invoke>\n</｜GCML｜tool_calls><|message_sep|>",
        "<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}<|message_sep|>",
        "<atem:function_calls>\n<atem:invoke name=\"f\">\n<atem:parameter name=\"a\">1</atem:parameter>\n</atem:invoke>\n</atem:function_calls>",
        "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"f\">]<]minimax[>[<a>1]<]minimax[>[</a>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
        "<tool_call><invoke name=\"f\"><a>1</a></invoke></tool_call>",
        "<|open|>tools<|sep|><|open|>call tool=\"f\" index=\"1\"<|sep|><|open|>argument key=\"a\" type=\"number\"<|sep|>1<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
        "<ifm|tool_calls>\n<ifm|tool_call>f\n<ifm|arg_key>a</ifm|arg_key>\n<ifm|arg_value>1</ifm|arg_value>\n</ifm|tool_call>\n</ifm|tool_calls>",
        "<ifm|tool_call>f<ifm|arg_key>a</ifm|arg_key><ifm|arg_type>int</ifm|arg_type><ifm|arg_value>1</ifm|arg_value></ifm|tool_call>",
        "<ifm|tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</ifm|tool_call>",
        "<|message_model|>f<|content_invoke_tool_json|>{\"name\": \"f\", \"args\": {\"a\": 1}}<|end_message|>",
        "<dots_function_call>\n<invoke name=\"f\">\n<parameter name=\"a\">1</parameter>\n</invoke>\n</dots_function_call>",
    ] {
        let (said, calls) = read(text);
        assert_eq!(said, "", "{text}");
        assert_eq!(calls, [("f".to_owned(), "{\"a\": 1}".to_owned(), false)], "{text}");
    }
}

#[test]
fn several_calls_and_text_around_them() {
    let f = |n: u32| ("f".to_owned(), format!("{{\"a\": {n}}}"), false);
    let hermes =
        |n: u32| format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": {n}}}}}</tool_call>");
    for (text, said) in [
        (format!("Let me see.\n{}\n{}", hermes(1), hermes(2)), "Let me see.\n"),
        (format!("A {} B\n {} C", hermes(1), hermes(2)), "A  B\n  C"),
        ("<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"f\", \"parameters\": {\"a\": 2}}".into(), ""),
        ("{\"name\": \"f\", \"parameters\": {\"a\": 1}};\n{\"name\": \"f\", \"parameters\": {\"a\": 2}}".into(), ""),
        ("[TOOL_CALLS]f{\"a\": 1}[TOOL_CALLS]f{\"a\": 2}".into(), ""),
        ("[f(a=1), f(a=2)]".into(), ""),
        ("<function_calls>\nf(a=1)\nf(a=2)\n</function_calls>".into(), ""),
        ("Wait.<|end|><|start|>assistant<|channel|>commentary to=functions.f json<|message|>{\"a\": 1}<|call|><|start|>assistant<|channel|>commentary to=functions.f<|message|>{\"a\": 2}<|call|>".into(), "Wait."),
        ("<|tools_prefix|>[{\"f\": {\"a\": 1}}, {\"f\": {\"a\": 2}}]<|tools_suffix|>".into(), ""),
        ("<|tool_call>call:f{a: 1}<tool_call|><|tool_call>call:f{a: 2}<tool_call|>".into(), ""),
        ("<function_call> {\"name\": \"f\", \"arguments\": {\"a\": 1}} <function_call> {\"name\": \"f\", \"arguments\": {\"a\": 2}}".into(), ""),
        ("<tool_calls>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n{\"name\": \"f\", \"arguments\": {\"a\": 2}}\n</tool_calls>".into(), ""),
        ("<tool_call><function=f><parameter=a>1</parameter></function><function=f><parameter=a>2</parameter></function></tool_call>".into(), ""),
        ("<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{\"a\": 2}<|tool_call_end|><|tool_calls_section_end|>".into(), ""),
    ] {
        assert_eq!(read(&text), (said.to_owned(), vec![f(1), f(2)]), "{text}");
    }
}

#[test]
fn what_merely_looks_like_a_call_stays_text() {
    for text in [
        "",
        "\n\n",
        "Use <tool_call> tags like this: <tool_call>…</tool_call>.",
        "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call>",
        "<tool_call>f is the name</tool_call>",
        "<tool_call>\n{\"name\": \"f",
        "[TOOL_CALLS] is Mistral's token.",
        "[TOOL_CALLS]",
        "{\"a\": 1, \"b\": \"JSON answer\"}",
        "{\"name\": \"f\", \"age\": 3}",
        "{\"name\": \"f\", \"arguments\": {\"a\": 1}} is how you call it.",
        "{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"more\": 1}",
        "{\"name\": \"f\", \"arguments\": [1]}",
        "Call: {\"name\": \"f\", \"arguments\": {}}",
        "[1] a citation",
        "[f]",
        "[f(1)]",
        "```json\n{\"name\": \"f\", \"arguments\": {}}\n```\nThat is how.",
        "```python\nprint(1)\n```",
        "``",
        "Like so: `<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>`",
        "```xml\n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n```",
        "<tool_box>x</tool_box> [1] {not json}",
        "<|tool_call_begin|>functions.other:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"other\", \"arguments\": {}}]",
        "a <b <tool_cal [TOOL",
        "<|channel|>commentary to=functions.other <|constrain|>json<|message|>{\"a\": 1}<|call|>",
        "<|channel|>commentary to= whom?",
        "<|python_start|>print(1)<|python_end|>",
        "<function_calls> is a tag. f(a=1)",
        "<tools>f and get_weather</tools>",
        "<|tools_prefix|>[{\"other\": {}}]<|tools_suffix|>",
        "<|tool_call>call:other{}<tool_call|>",
        "<function name=\"other\"><param name=\"a\">1</param></function>",
        "]<]minimax[>[ is a token",
        "a list]",
        "<|message_model|>f is a tool",
        "<|open|>tools<|sep|><|open|>call tool=\"other\" index=\"1\"<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
        "<tool_calls>\n<tool_call>f is a tool</tool_call></tool_calls>",
    ] {
        assert_eq!(read(text), (text.to_owned(), Vec::new()), "{text}");
    }
}

#[test]
fn a_mark_inside_a_string_belongs_to_it() {
    let arguments = "{\"text\": \"</tool_call> and <tool_call>\"}";
    let text = format!("<tool_call>{{\"name\": \"f\", \"arguments\": {arguments}}}</tool_call>");
    assert_eq!(read(&text), (String::new(), vec![("f".into(), arguments.into(), false)]));
    let text = "<tool_call><function=f><parameter=text>a </parameter> b\n</parameter><parameter=on>True</parameter></function></tool_call>";
    let arguments = "{\"text\": \"a </parameter> b\", \"on\": true}";
    assert_eq!(read(text), (String::new(), vec![("f".into(), arguments.into(), false)]));
}

#[test]
fn values_keep_their_bytes() {
    let text = "<tool_call>\n<function=f>\n<parameter=text>\n  if a < b:\n    print(\"x\")\n\n</parameter>\n<parameter=list>\n[1, 'x']\n</parameter>\n</function>\n</tool_call>";
    let arguments = "{\"text\": \"  if a < b:\\n    print(\\\"x\\\")\\n\", \"list\": [1, \"x\"]}";
    assert_eq!(read(text), (String::new(), vec![("f".into(), arguments.into(), false)]));
    let text =
        "<|tool_call>call:f{text:<|\"|>{\"a\"}: <tool_call|> b<|\"|>,list:[1,<|\"|>x<|\"|>]}<tool_call|>";
    let arguments = "{\"text\":\"{\\\"a\\\"}: <tool_call|> b\",\"list\":[1,\"x\"]}";
    assert_eq!(read(text), (String::new(), vec![("f".into(), arguments.into(), false)]));
    let text = "<tool_call>get_weather</tool_call>";
    assert_eq!(read(text), (String::new(), vec![("get_weather".into(), "{}".into(), false)]));
}

#[test]
fn elements_hold_objects_and_lists() {
    let tag = |name: &str, inner: &str| format!("]<]minimax[>[<{name}>{inner}]<]minimax[>[</{name}>");
    let list = tag("item", "1") + &tag("item", &(tag("b", "x") + &tag("c", &tag("item", "2"))));
    let text = tag(
        "tool_call",
        &format!("]<]minimax[>[<invoke name=\"f\">{}]<]minimax[>[</invoke>", tag("list", &list)),
    );
    let arguments = "{\"list\": [1, {\"b\": \"x\", \"c\": [2]}]}";
    assert_eq!(read(&text), (String::new(), vec![("f".into(), arguments.into(), false)]));
}

#[test]
fn a_call_that_does_not_end_is_cut() {
    for (text, arguments) in [
        ("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ", "{\"a\":"),
        ("{\"name\": \"f\", \"arguments\": {\"a\": ", "{\"a\":"),
        ("[TOOL_CALLS]f{\"a\": ", "{\"a\":"),
        ("<tool_call><function=f><parameter=a>1</parameter><parameter=te", "{\"a\": 1}"),
        ("<tool_call><function=f><parameter=a>1</parameter><parameter=text>x", "{\"a\": 1}"),
        ("<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>te", "{\"a\": 1}"),
        ("<|tool_call_begin|>f<|tool_call_argument_begin|>{\"a\": ", "{\"a\":"),
        ("[f(a=1, text='x", "{\"a\": 1}"),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": ", "{\"a\":"),
        ("<|channel|>commentary to=functions.f <|constra", ""),
        ("<|tool_call>call:f{a: 1,text:<|\"|>x", "{a: 1,text:\"x\""),
        (
            "<|tool_call:start|>f\n<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>\n<|tool_arg:start|>te",
            "{\"a\": 1}",
        ),
    ] {
        assert_eq!(read(text), (String::new(), vec![("f".into(), arguments.into(), true)]), "{text}");
    }
}

#[test]
fn ordinary_text_is_delivered_at_once() {
    let mut filter = CallFilter::new(request(), None);
    let mut out = Vec::new();
    for text in ["Hello", " a < b", " [1], {x}", " `x`", "\nnext\n"] {
        filter.push(Cow::Borrowed(text), &mut out);
        assert_eq!(out.pop(), Some(Event::ContentDelta { content: text.to_owned() }));
        assert_eq!(filter.held(), 0);
    }
    filter.push(Cow::Borrowed("x <tool"), &mut out);
    assert_eq!(out.pop(), Some(Event::ContentDelta { content: "x ".to_owned() }));
    filter.push(Cow::Borrowed("_call> tag"), &mut out);
    let said: String = out
        .iter()
        .map(|event| if let Event::ContentDelta { content } = event { content.as_str() } else { "" })
        .collect();
    assert_eq!((said.as_str(), filter.held()), ("<tool_call> tag", 0));
}
