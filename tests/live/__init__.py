"""What needs images of a public registry: run where one answers, by `nox -s monitoring_live`."""
