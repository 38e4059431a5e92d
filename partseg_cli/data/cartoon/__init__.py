"""Cartoon-Part: procedurally drawn scenes with exact, overlapping part masks."""
