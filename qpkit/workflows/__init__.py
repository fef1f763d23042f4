"""One function per verb: takes settings, calls the packages below, returns a report. Prints nothing."""
