"""The commands: `inv --list`."""

from deploy.tasks import namespace

ns = namespace
