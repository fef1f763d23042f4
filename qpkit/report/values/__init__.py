"""What figures and pages are made of: plain values."""
