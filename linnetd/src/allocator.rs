//! The allocator of the process, and how it is set up.
//!
//! Sessions parse on one thread what the RIB keeps or frees on another, a million times for a full table. glibc's allocator
//! keeps an arena for each thread, frees into another one's under its lock, and gives little back: with it that table took a
//! third more CPU and memory than with jemalloc (docs/performance.md).
//!
//! Two things here are `unsafe`: the name of [`CONFIGURATION`], by which jemalloc looks for it, because nothing else in the
//! program may export that name; and a call of jemalloc's own interface, which is C.
#![allow(unsafe_code, reason = "an exported name, and a call into C: see above")]

use std::ffi::c_char;
use std::ptr::null_mut;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often what is free goes back to the kernel, if nothing else happens.
const EVERY: Duration = Duration::from_secs(5);

/// One arena: what one thread has freed, another one takes, and only two threads have much to do. What is free goes back to
/// the kernel within a tenth of a second, and not after ten: a table comes once. jemalloc looks at the clock only where
/// somebody allocates: see [`give_back`].
#[unsafe(export_name = "_rjem_malloc_conf")]
static CONFIGURATION: &c_char = {
    const TEXT: &std::ffi::CStr = c"narenas:1,dirty_decay_ms:100,muzzy_decay_ms:0";
    // A pointer that is never null, to text that ends with a zero, as `const char *malloc_conf` has to be.
    unsafe { &*TEXT.as_ptr() }
};

/// Gives back what has been free for long enough, every few seconds: a daemon that has taken in a table and then sleeps would
/// keep what it freed last, up to a seventh of its memory. Never returns.
pub(crate) async fn give_back() {
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        decay();
    }
}

/// `arena.<i>.decay` (jemalloc(3)) of the only arena.
fn decay() -> i32 {
    // SAFETY: the name ends with a zero, and the entry takes no value and gives none.
    unsafe { tikv_jemalloc_sys::mallctl(c"arena.0.decay".as_ptr(), null_mut(), null_mut(), null_mut(), 0) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn jemalloc_knows_what_it_is_asked_to_do() {
        assert_eq!(super::decay(), 0);
    }
}
