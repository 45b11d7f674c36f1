//! The fuzzer's targets are compiled as `make fuzz` compiles them, but for libFuzzer itself, whose C++ would take a minute: in its
//! place stands a macro that makes a function of a target.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]
#![allow(unused_attributes, reason = "no_main, as a program of libFuzzer's has it")]

extern crate self as libfuzzer_sys;

macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $body:expr) => {
        pub(crate) fn run($data: &[u8]) {
            $body;
        }
    };
}
use fuzz_target;

#[path = "../targets/bfd_packet.rs"]
mod bfd_packet;
#[path = "../targets/bfd_sessions.rs"]
mod bfd_sessions;
#[path = "../targets/configuration.rs"]
mod configuration;
#[path = "../targets/notification.rs"]
mod notification;
#[path = "../targets/open.rs"]
mod open;
#[path = "../targets/policy_documents.rs"]
mod policy_documents;
#[path = "../targets/route_refresh.rs"]
mod route_refresh;
#[path = "../targets/router_discovery.rs"]
mod router_discovery;
#[path = "../targets/rpki_cache.rs"]
mod rpki_cache;
#[path = "../targets/session.rs"]
mod session;
#[path = "../targets/update.rs"]
mod update;

const TARGETS: [(&str, linnet_fuzz::Check); 11] = [
    ("bfd_packet", bfd_packet::run),
    ("bfd_sessions", bfd_sessions::run),
    ("configuration", configuration::run),
    ("notification", notification::run),
    ("open", open::run),
    ("policy_documents", policy_documents::run),
    ("route_refresh", route_refresh::run),
    ("router_discovery", router_discovery::run),
    ("rpki_cache", rpki_cache::run),
    ("session", session::run),
    ("update", update::run),
];

#[test]
fn each_check_has_a_target_that_takes_bytes_and_a_program_for_it() {
    let mut checks = linnet_fuzz::CHECKS.map(|(name, _)| name);
    checks.sort_unstable();
    assert_eq!(TARGETS.map(|(name, _)| name), checks);
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    for (name, run) in TARGETS {
        run(&[]);
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"\n")), "{name}");
    }
}
