//! Tables of the export rules.
