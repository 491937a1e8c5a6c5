"""What a release is made of: assembled, placed, rendered."""
