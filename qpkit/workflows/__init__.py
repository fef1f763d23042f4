"""One function per verb: takes settings, calls the rooms below, returns a report. Prints nothing."""
