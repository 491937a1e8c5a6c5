"""The front door: `inv --list`."""

from deploy.tasks import namespace

ns = namespace
