#!/usr/bin/env bash
# Tests Loom against real servers with tiny random models: scripts/servers.sh NAME..., or: all
# Names: llama-server vllm vllm-no-tools litellm fastchat transformers llama-cpp-python. They are installed on first use; see
# servers/README.md for what that takes.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
[[ $# -gt 0 ]] || { sed -n '2,4p' "$0" >&2; exit 2; }
python_package
[[ $1 == all ]] && set -- llama-server vllm vllm-no-tools litellm fastchat transformers llama-cpp-python
status=0
for name in "$@"; do
  say "$name"
  tests=tests/servers
  [[ $name == *-no-tools ]] && tests=tests/servers/test_twelve.py # else it is as with them
  LOOM_TEST_SERVER=$name .venv/bin/python -m pytest --quiet $tests || status=1
  [[ $name == llama-server ]] || servers/servers.sh stop "${name%-no-tools}" # litellm forwards to llama-server
done
servers/servers.sh stop all
exit $status
