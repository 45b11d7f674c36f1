//! What happened, line by line: hashed as it goes, and shown to whoever wants to read it.

use std::fmt::{self, Write};

use bgp_proto::time::Instant;

/// A running record of a simulation.
#[derive(Debug)]
pub struct Transcript {
    hash: u64,
    lines: u64,
    line: String,
    echo: Option<fn(&str)>,
}

impl Transcript {
    /// An empty one. `echo` hears of each line.
    #[must_use]
    pub fn new(echo: Option<fn(&str)>) -> Self {
        Self { hash: FNV_OFFSET, lines: 0, line: String::new(), echo }
    }

    /// Writes a line.
    pub fn note(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a String does not fail.
        let _ = write!(self.line, "{:>14.6} {what}", now.since_start().as_secs_f64());
        self.hash = fnv(self.hash, self.line.as_bytes());
        self.lines += 1;
        if let Some(echo) = self.echo {
            echo(&self.line);
        }
    }

    /// Takes bytes into the hash that no line shows.
    pub fn stir(&mut self, bytes: &[u8]) {
        self.hash = fnv(self.hash, bytes);
    }

    /// Of all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there are.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits (Fowler, Noll and Vo): no enemy chooses these lines.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
