"""Tests mirror the package's tree."""
