"""Let workers run for hours under faults, and judge whether what they hold of the machine stays the same."""
