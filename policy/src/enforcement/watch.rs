//! Being told that the folder changed, by inotify. What changed is not asked: the folder is read again.

// One block: tokio asks whoever registers a descriptor to vouch for its life.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Watches one folder, and not its subfolders.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: AsyncFd<OwnedFd>,
    armed: Option<i32>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped, and `Watch` never takes it out.
        let inotify = unsafe { AsyncFd::register(inotify)? };
        Ok(Watch { inotify, armed: None })
    }

    /// Watches what `directory` names now, which may be another folder than before. To be called before each reading,
    /// so that no change falls between. `false`: there is no such folder.
    pub(super) fn arm(&mut self, directory: &Path) -> bool {
        let events = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let armed = inotify::add_watch(self.inotify.get_ref(), directory, events).ok();
        if let Some(old) = self.armed
            && armed != Some(old)
        {
            // An error says that it is gone with its folder.
            _ = inotify::remove_watch(self.inotify.get_ref(), old);
        }
        self.armed = armed;
        armed.is_some()
    }

    /// Returns after something has happened in the folder. Cancel-safe.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut events = [0u8; 4096];
        loop {
            match rustix::io::read(self.inotify.get_ref(), &mut events) {
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
