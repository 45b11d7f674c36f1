//! Tables of cases for each attribute.
