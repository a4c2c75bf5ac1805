"""Break workers and brokers on purpose, and count what that did to the decisions."""
