"""BookReader Ops: build, deploy and look after a Dockerised web app."""
