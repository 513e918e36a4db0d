"""A shop of three things."""
