//! Work inside another network namespace.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

use nix::sched::{CloneFlags, setns};

use crate::FibError;

/// A network namespace that is not the calling thread's own, held open.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
    path: std::path::PathBuf,
}

impl Namespace {
    /// Opens `/run/netns/NAME`, `/proc/PID/ns/net` or the like.
    pub(crate) fn open(path: &Path) -> Result<Namespace, FibError> {
        let fail = |source| FibError::Namespace { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let (there, here) = (file.metadata().map_err(fail)?, fs::metadata("/proc/thread-self/ns/net").map_err(fail)?);
        if (there.dev(), there.ino()) == (here.dev(), here.ino()) {
            return Err(FibError::Invalid(format!(
                "network namespace {} is this host's own; no interface was made; give the pod's",
                path.display()
            )));
        }
        Ok(Namespace { file, path: path.to_owned() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Does `work` inside: on a thread of its own that ends with it, so that no other work can ever find itself in the
    /// wrong namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, FibError> + Send) -> Result<T, FibError> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| FibError::Namespace { path: self.path.clone(), source: errno.into() })?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
