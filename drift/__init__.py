"""The monitor that compares what is scored with what was trained on."""
