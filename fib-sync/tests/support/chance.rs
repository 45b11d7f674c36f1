//! Random numbers by seed. One file for the tests of all rooms.

use std::hash::{BuildHasher, RandomState};

/// splitmix64: what it gives is the same on every machine and in every version.
pub struct Chance(u64);

impl Chance {
    pub fn of(seed: u64, round: u32) -> Chance {
        Chance(seed ^ u64::from(round).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The seed that `LINNET_TEST_SEED` says, else another one each time. Printed by the test's harness if the test fails.
pub fn seed() -> u64 {
    const SEED: &str = "LINNET_TEST_SEED";
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().expect("LINNET_TEST_SEED is a number"),
        Err(_) => RandomState::new().hash_one(()),
    };
    println!("seed {seed}: see it again with {SEED}={seed}");
    seed
}
