"""The app shell: the command line, the settings and the demo."""
