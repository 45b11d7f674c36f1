//! How many instructions of the processor a piece of work takes. Unlike its time, that is the same in every run, whatever else the
//! machine does.
//!
//! A test runs itself again as a child, which does the work between marks, and has the kernel stop that behind each instruction
//! (ptrace(2), PTRACE_SINGLESTEP). That takes some microseconds an instruction: a million of them is much.

// ptrace(2), waitpid(2) of a single thread, sched_setaffinity(2) and raise(3) have no safe binding among this crate's dependencies.
#![allow(unsafe_code)]

use std::ptr::null_mut;

/// Says to this program that it is the child.
const CHILD: &str = "LINNET_TEST_COUNTED";

/// The stop that is a mark: nobody else sends it to the thread.
const MARK: libc::c_int = libc::SIGSTOP;

/// Far more than any piece of work should take: what takes more is told at once, not in an hour.
const MOST: u64 = 500_000;

/// What each piece of work takes that `work` hands to its [`Marks`], in order; `None` in the child, which has nothing left to do.
///
/// `test`: the name of the test that calls, alone in its program.
pub(crate) fn count(test: &str, work: impl FnOnce(Marks)) -> Option<Vec<u64>> {
    if std::env::var_os(CHILD).is_some() {
        // SAFETY: takes no pointer; the parent, which waits for this, is to trace this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, null_mut::<()>(), null_mut::<()>()) }, 0, "TRACEME");
        work(Marks(()));
        return None;
    }
    stay_on_one_processor();
    let program = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut counts = Vec::new();
    // The first to stop is the thread that asked for it: no other is traced.
    let (thread, mut stopped) = wait(-1);
    while stopped == Some(MARK) {
        let steps = steps_to_mark(thread);
        if steps > MOST {
            child.kill().unwrap();
            panic!("a piece of work takes more than {MOST} instructions; those before it took {counts:?}");
        }
        counts.push(steps);
        go_on(libc::PTRACE_CONT, thread);
        stopped = wait(thread).1;
    }
    assert!(child.wait().unwrap().success(), "the child failed after {} pieces of work", counts.len());
    Some(counts)
}

/// With a child that inherits it: two that wait for each other after each instruction need no other processor to wake up.
fn stay_on_one_processor() {
    // SAFETY: the set is one of the size that is said, and all of it is written before it is read.
    let outcome = unsafe {
        let mut set = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}

/// Where the work that is counted begins and ends.
pub(crate) struct Marks(());

impl Marks {
    /// Does a piece of work that is counted.
    pub(crate) fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        mark();
        let made = work();
        mark();
        made
    }
}

fn mark() {
    // SAFETY: takes no pointer; the tracer sees the signal and keeps it.
    assert_eq!(unsafe { libc::raise(MARK) }, 0);
}

fn steps_to_mark(thread: libc::pid_t) -> u64 {
    let mut steps = 0;
    loop {
        go_on(libc::PTRACE_SINGLESTEP, thread);
        match wait(thread).1 {
            Some(libc::SIGTRAP) if steps <= MOST => steps += 1,
            Some(libc::SIGTRAP) => return steps,
            Some(MARK) => return steps,
            other => panic!("the child ended in the middle, or by a signal: {other:?}"),
        }
    }
}

fn go_on(how: libc::c_uint, thread: libc::pid_t) {
    // SAFETY: both requests read no pointer: the first is ignored, the second is no signal.
    let outcome = unsafe { libc::ptrace(how, thread, null_mut::<()>(), null_mut::<()>()) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}

/// The thread, and the signal that it stopped for; no signal if it ended.
fn wait(thread: libc::pid_t) -> (libc::pid_t, Option<libc::c_int>) {
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    let thread = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    assert!(thread > 0, "{}", std::io::Error::last_os_error());
    (thread, libc::WIFSTOPPED(status).then(|| libc::WSTOPSIG(status)))
}
