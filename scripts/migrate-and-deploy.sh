#!/usr/bin/env bash
# Usage: scripts/migrate-and-deploy.sh [FLAG OF inv deploy ...]
# `inv deploy` migrates before anything of the release starts: behind the gate, after a backup, with time-outs.
set -euo pipefail
exec "$(dirname "$(readlink -f "$0")")/inv.sh" deploy "$@"
