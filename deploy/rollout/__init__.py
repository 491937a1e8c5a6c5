"""Rollout: from what is wanted and what is there to the steps between, and doing them."""
