#!/usr/bin/env bash
# Tries `loom` in a real terminal: demo, run and chat, with streaming, Ctrl-C, line editing, history and colours.
# Usage: tests/terminal/run.sh            builds, then tests; needs tmux, and is skipped with a word where there is none
#        LOOM=path EMULATED=path …/run.sh tests these binaries
# Ends with 0 if all went well, else with 1 and the screen at the time.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v tmux >/dev/null; then
    echo "tests/terminal: SKIPPED, there is no tmux"
    exit 0
fi
if [ -z "${LOOM:-}" ] || [ -z "${EMULATED:-}" ]; then
    cargo build --quiet --package loom-cli --bin loom --example emulated
    target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    LOOM=$target/debug/loom EMULATED=$target/debug/examples/emulated
fi

folder=$(mktemp -d)
socket=loom-test-$$ # a tmux server of this test's own
server=
till=
session=0
checks=0

finish() {
    tmux -L "$socket" kill-server 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$till" ] || kill "$till" 2>/dev/null || true
    # What was killed a moment ago may still write there.
    rm -rf "$folder" 2>/dev/null || { sleep 1; rm -rf "$folder"; }
}
trap finish EXIT

screen() { tmux -L "$socket" capture-pane -t "t$session" -p -J -S - "$@"; }

fail() {
    printf 'tests/terminal: FAILED: %s\n--- screen\n' "$1" >&2
    screen >&2 || true
    printf -- '--- server\n' >&2
    cat "$folder/server.log" >&2
    exit 1
}

# Waits until "$@" succeeds; $1 says what for.
await() {
    local what=$1
    shift
    for _ in $(seq 200); do
        if "$@"; then
            checks=$((checks + 1))
            return
        fi
        sleep 0.05
    done
    fail "$what"
}

shows() { screen | grep -qF -- "$1"; }
# Whether a text (a regular expression) stands in a style: 1 is bold, 36 cyan. tmux writes its own codes for it.
styled() { screen -e | grep -qE -- $'\e'"\\[([0-9;]*;)?$1m("$'\e'"\\[[0-9;]*m)*$2"; }
served() { grep -q -- "$1" "$folder/server.log"; }
sees() { await "the screen shows: $1" shows "$1"; }
lacks() { if shows "$1"; then fail "the screen shows what it should not: $1"; else checks=$((checks + 1)); fi; }
keys() { tmux -L "$socket" send-keys -t "t$session" "$@"; }
type_line() { keys -l -- "$1"; keys Enter; }

# A fresh terminal with a plain shell.
terminal() {
    session=$((session + 1))
    tmux -L "$socket" -f /dev/null new-session -d -s "t$session" -x 100 -y 50 -c "$folder" \
        env -i HOME="$folder" PATH="$PATH" TERM="${1:-screen-256color}" LANG=C.UTF-8 PS1='$ ' LOOM_BASE_URL="$url" \
        ${2:+"$2"} bash --norc --noprofile
    await "a shell" shows '$'
}

"$EMULATED" 150 >"$folder/server.log" &
server=$!
await "the server" served http
url=$(head -1 "$folder/server.log")

echo "tests/terminal: demo"
terminal
type_line "'$LOOM' demo; echo exit \$?"
sees "EMULATED endpoint"
sees "the model calls get_weather"
sees '"answer": "You said'
sees "exit 0"
await "colours" styled 1 '1\. A streamed answer'

echo "tests/terminal: run"
terminal
type_line "'$LOOM' run 'one **two** three four five six seven eight nine ten'; echo exit \$?"
sees 'You said: "one **two** three'
lacks "emulated endpoint."  # it streams: the beginning is there before the end
sees "emulated endpoint."
sees "exit 0"
await "bold" styled 1 'two'
type_line "clear; '$LOOM' run 'a b c d e f g h i j k l m n o p q r s t u v w x y z' ; echo exit \$?"
sees 'You said: "a b c'
keys C-c
sees "exit 130"
await "the connection closes" served "aborted=1"
lacks 'y z". This'

echo "tests/terminal: chat"
terminal
type_line "'$LOOM' chat; echo exit \$?"
sees "/help lists the commands"
keys C-c
sees "Ctrl-D or /exit leaves"
type_line "helo"
keys -l 'x'; keys BSpace # editing
sees 'You said: "helo"'
sees "emulated endpoint."
type_line 'first\'
type_line '## second `code`'
sees '## second `code`". This'
await "a heading" styled 36 '## second'
sleep 1.5 # until the answer has ended
type_line "a b c d e f g h i j k l m n o p q r s t u v w x y z"
sees 'You said: "a b c'
keys C-c
sees "[stopped: the answer is partial"
await "the connection closes" served "aborted=2"
type_line "/nope"
sees "there is no command /nope"
type_line "/models"
sees "* emulated"
type_line "/save talk.md"
sees "Saved to talk.md"
type_line "still here"
sees 'You said: "still here"'
sleep 2
keys C-d
sees "exit 0"
grep -q 'You said: "a b' "$folder/talk.md" || fail "the partial answer is in the conversation"
history=$folder/.local/state/loom/history
grep -qx "still here" "$history" || fail "the history has the last line"
[ "$(stat -c %a "$history" 2>/dev/null || stat -f %Lp "$history")" = 600 ] || fail "the history is private"
type_line "clear; '$LOOM' chat; echo exit \$?"
sees "/help lists the commands"
keys Up
sees "> still here" # the history of the chat before
keys C-c
keys -l "/exit"; keys Enter
sees "exit 0"

echo "tests/terminal: approval"
cat >"$folder/mcp.py" <<'SERVER'
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "till", "version": "1"}},
        "tools/list": {"tools": [{"name": "pay", "inputSchema": {"type": "object", "properties": {"sum": {"type": "integer"}}}}]},
        "tools/call": {"content": [{"type": "text", "text": "paid"}]},
    }
    if request["method"] == "tools/call":
        open("paid", "a").write("x")
    if request["method"] in answers:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answers[request["method"]]}), flush=True)
SERVER
turn='{"tool_calls": [{"name": "pay", "arguments": {"sum": 7}}]}'
printf '[%s, "All paid.", %s, "Not paid.", %s, %s, "Paid again."]' "$turn" "$turn" "$turn" "$turn" >"$folder/script.json"
"$LOOM" emulate openai --script "$folder/script.json" >"$folder/till.log" 2>/dev/null &
till=$!
await "the scripted server" grep -q http "$folder/till.log"
ask="--base-url $(head -1 "$folder/till.log") --mcp 'python3 mcp.py' --approve"
terminal
type_line "'$LOOM' run $ask Pay; echo exit \$?"
sees 'The model wants to call pay {"sum":7}'
sees "Carry it out? [y/n]"
type_line "perhaps"
type_line "y"
sees "All paid."
sees "exit 0"
[ "$(cat "$folder/paid")" = x ] || fail "the call was carried out once"
terminal
type_line "'$LOOM' run $ask Pay; echo exit \$?"
sees "Carry it out? [y/n]"
type_line "n"
sees "Not paid."
terminal
type_line "'$LOOM' run $ask Pay; echo exit \$?"
sees "Carry it out? [y/n]"
keys C-c
sees "exit 130"
terminal
type_line "'$LOOM' chat $ask; echo exit \$?"
sees "/help lists the commands"
type_line "Pay"
sees "Carry it out? [y/n]"
type_line "y"
sees "Paid again."
sees "> "
keys C-d
sees "exit 0"
[ "$(cat "$folder/paid")" = xx ] || fail "a call was carried out without approval"
kill "$till" 2>/dev/null || true

echo "tests/terminal: without colours, and on a dumb terminal"
for setting in "screen-256color NO_COLOR=1" "dumb X=1"; do
    # shellcheck disable=SC2086
    terminal $setting
    type_line "clear; '$LOOM' run '**x**'; echo exit \$?"
    sees "exit 0"
    sees 'You said: "**x**"'
    if screen -e | grep -q $'\e\['; then fail "escape codes with $setting"; fi
    type_line "'$LOOM' chat; echo exit \$?"
    sees "/help lists the commands"
    type_line "a **b**"
    sees 'You said: "a **b**"'
    sees 'b**". This answer comes from'
    sleep 1
    keys C-c
    sees "Ctrl-D or /exit leaves"
    keys C-d
    sees "exit 0"
    if screen -e | grep -q $'\e\['; then fail "escape codes with $setting"; fi
done

echo "tests/terminal: passed, $checks checks"
