//! 200 fixed seeds of [`bgp_sim::trial`], and every seed that has ever failed.
//!
//! A seed that fails says how to run it again, and is written to `seeds.txt`, which is to be committed with the mend.

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bgp_sim::trial::{self, Report};

/// Seeds that failed once.
const KEPT: &str = include_str!("../seeds.txt");

fn run(seed: u64, echo: Option<fn(&str)>) -> Result<Report, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| trial::run(seed, echo)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn kept() -> impl Iterator<Item = u64> {
    KEPT.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}

/// Runs every seed, and every other one twice: both runs must have one transcript.
fn pass(seeds: impl IntoIterator<Item = u64>) {
    let mut failed = Vec::new();
    for seed in seeds {
        let mut outcome = run(seed, None);
        if seed.is_multiple_of(2) && outcome.is_ok() {
            let again = run(seed, None);
            if again != outcome {
                outcome = Err(format!("two runs have different transcripts: {outcome:?} and {again:?}"));
            }
        }
        if let Err(error) = outcome {
            println!("seed {seed} failed: {error}");
            println!("  see it with: LINNET_SIM_SEED={seed} cargo test -p bgp-sim one_seed -- --nocapture");
            keep(seed);
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "these seeds failed, see above: {failed:?}");
}

/// Best effort: a tree that cannot be written to still has the seed in its log.
fn keep(seed: u64) {
    if kept().any(|known| known == seed) {
        return;
    }
    let file = OpenOptions::new().append(true).open(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds.txt"));
    let _ = file.and_then(|mut file| writeln!(file, "{seed}"));
}

#[test]
fn a_seed_that_failed_once_passes() {
    pass(kept());
}

/// With `LINNET_SIM_SEED`, shows that seed's transcript.
#[test]
fn one_seed() {
    let wanted = std::env::var("LINNET_SIM_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let echo: Option<fn(&str)> = wanted.map(|_| (|line| println!("{line}")) as fn(&str));
    match run(wanted.unwrap_or(1), echo) {
        Ok(report) => println!("{report:?}"),
        Err(error) => panic!("{error}"),
    }
}

/// For whoever looks for more: `LINNET_SIM_RANGE=1000..9000 cargo test -p bgp-sim many -- --ignored --nocapture`.
#[test]
#[ignore = "runs for as long as LINNET_SIM_RANGE says"]
fn many_seeds() {
    let range = std::env::var("LINNET_SIM_RANGE").unwrap_or_else(|_| "200..400".to_owned());
    let (from, to) = range.split_once("..").expect("LINNET_SIM_RANGE is FROM..TO");
    pass(from.parse().expect("a number")..to.parse().expect("a number"));
}

fn chunk(number: u64) -> Range<u64> {
    number * 25..(number + 1) * 25
}

macro_rules! chunks {
    ($($name:ident $number:literal)*) => {
        $(
            #[test]
            fn $name() {
                pass(chunk($number));
            }
        )*
    };
}

chunks! {
    seeds_0_to_24_pass 0
    seeds_25_to_49_pass 1
    seeds_50_to_74_pass 2
    seeds_75_to_99_pass 3
    seeds_100_to_124_pass 4
    seeds_125_to_149_pass 5
    seeds_150_to_174_pass 6
    seeds_175_to_199_pass 7
}
