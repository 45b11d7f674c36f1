//! The RIB as a whole: scenarios by hand, and random ones against a model.

mod add_path;
mod backups;
mod drain;
mod extended;
mod long_lived;
mod model;
mod neighbors;
mod next_hops;
mod refresh;
mod scenarios;
mod trial;
mod unreachable;
mod unwatched;
mod validation;
mod world;
