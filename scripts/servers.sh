#!/usr/bin/env bash
# Tests Loom against real servers with tiny random models: scripts/servers.sh NAME..., or: all
# Names: llama-server vllm litellm fastchat transformers llama-cpp-python. They are installed on first use; see
# servers/README.md for what that takes.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
[[ $# -gt 0 ]] || { sed -n '2,4p' "$0" >&2; exit 2; }
python_package
[[ $1 == all ]] && set -- llama-server vllm litellm fastchat transformers llama-cpp-python
status=0
for name in "$@"; do
  say "$name"
  LOOM_TEST_SERVER=$name .venv/bin/python -m pytest --quiet tests/servers || status=1
  [[ $name == llama-server ]] || servers/servers.sh stop "$name" # litellm forwards to llama-server
done
servers/servers.sh stop all
exit $status
