//! When scans run: one of a kind at a time, none forgotten.
