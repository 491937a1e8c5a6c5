"""Servers: how they come into the settings, and what is set up on them, by Ansible and never by hand."""
