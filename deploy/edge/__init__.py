"""The edge: nginx's configuration, rendered, tested and switched by generation."""
