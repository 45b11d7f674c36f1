//! What must hold of any bytes from outside: a function for each door that they come in by, which panics when it does not.
//!
//! `make fuzz` runs libFuzzer on each; `make test` replays what it found worth keeping (`corpus/NAME/`). A function is
//! named as its folder and its target are.

mod bfd;
mod discovery;
mod messages;
mod rpki;
mod session;
mod texts;

pub use bfd::{bfd_packet, bfd_sessions};
pub use discovery::router_discovery;
pub use messages::{notification, open, route_refresh, update};
pub use rpki::rpki_cache;
pub use session::session;
pub use texts::{configuration, policy_documents};

/// What holds of any bytes: a function that panics when it does not.
pub type Check = fn(&[u8]);

/// All of them, by name.
pub const CHECKS: [(&str, Check); 11] = [
    ("open", open),
    ("update", update),
    ("notification", notification),
    ("route_refresh", route_refresh),
    ("bfd_packet", bfd_packet),
    ("bfd_sessions", bfd_sessions),
    ("router_discovery", router_discovery),
    ("rpki_cache", rpki_cache),
    ("session", session),
    ("configuration", configuration),
    ("policy_documents", policy_documents),
];
