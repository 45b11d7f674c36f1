//! Whole UPDATEs.
