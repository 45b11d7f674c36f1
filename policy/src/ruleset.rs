//! The compiled ruleset as a value. What is in force is this value, never what was read back from nft.

/// The table `inet linnet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {}
