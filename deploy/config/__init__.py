"""What people write: settings, compose files, secrets, the checkout; and the environment that they make."""
