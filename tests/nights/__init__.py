"""Bad nights: a real engine, real faults, and what must be so before anybody types, and in the morning."""
