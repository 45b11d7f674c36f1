//! Sessions back to back on a virtual clock, their bytes moved by hand.

mod pair;
mod progress;
