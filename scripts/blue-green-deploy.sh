#!/usr/bin/env bash
# Usage: scripts/blue-green-deploy.sh [FLAG OF inv deploy ...]
# A deploy beside what serves, then the switch: what `inv deploy` does wherever rollout.strategy does not say otherwise.
set -euo pipefail
exec env OPS_ROLLOUT__STRATEGY=blue_green "$(dirname "$(readlink -f "$0")")/deploy.sh" deploy "$@"
