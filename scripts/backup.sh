#!/usr/bin/env bash
# Usage: scripts/backup.sh [list|copy|verify|drill|restore|prune|schedule|escrow|rebuild] [FLAG OF inv ...]
# Takes a recovery point, or does what is named with those that are there: `inv backup` and `inv backup.*`.
set -euo pipefail
task=backup
case "${1:-}" in
    list | copy | verify | drill | restore | prune | schedule | escrow | rebuild)
        task="backup.$1"
        shift
        ;;
    "" | --*) ;;
    *)
        sed -n 's/^# \(Usage:.*\)/\1/p' "$0" >&2
        exit 2
        ;;
esac
exec "$(dirname "$(readlink -f "$0")")/inv.sh" "$task" "$@"
