//! Sessions back to back on a virtual clock, their bytes moved by hand.

mod collisions;
mod delay_open;
mod endings;
mod hostile;
mod pair;
mod progress;
mod updates;
