"""What is on servers before anything is deployed to them: set up by Ansible, compared with it, and never by hand."""
