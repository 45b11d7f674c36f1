//! The RIB as a whole.
