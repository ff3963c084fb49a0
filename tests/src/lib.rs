//! Whole-system tests of Mountlab live in `tests/`.
