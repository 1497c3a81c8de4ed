#!/usr/bin/env bash
# Builds Loom on a fresh machine and shows its main job: an agent that answers on a base URL.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
python_package
say "loom demo"
exec .venv/bin/loom demo
