"""Data quality: statistics, checks, conversion reports."""
