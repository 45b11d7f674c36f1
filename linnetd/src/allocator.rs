//! The allocator of the process, and how it is set up.
//!
//! Sessions parse on one thread what the RIB keeps or frees on another, a million times for a full table. glibc's allocator
//! keeps an arena for each thread, frees into another one's under its lock, and gives little back: with it that table took a
//! third more CPU and memory than with jemalloc (docs/performance.md).
//!
//! The one `unsafe` thing here is the name of [`CONFIGURATION`], by which jemalloc looks for it: nothing else in the program
//! may export that name.
#![allow(unsafe_code, reason = "an exported name is unsafe by definition: see above")]

use std::ffi::c_char;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One arena: what one thread has freed, another one takes, and only two threads have much to do. What is free goes back to
/// the kernel within a tenth of a second, and not after ten: a table comes once.
#[unsafe(export_name = "_rjem_malloc_conf")]
static CONFIGURATION: &c_char = {
    const TEXT: &std::ffi::CStr = c"narenas:1,dirty_decay_ms:100,muzzy_decay_ms:0";
    // A pointer that is never null, to text that ends with a zero, as `const char *malloc_conf` has to be.
    unsafe { &*TEXT.as_ptr() }
};
