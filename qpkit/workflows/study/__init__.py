"""A study: what somebody has, a study.toml that says what to do with it, and the commands that do it."""
