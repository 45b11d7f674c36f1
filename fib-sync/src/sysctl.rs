//! Settings below /proc/sys/net: those of the calling thread's network namespace.

use std::{fs, path::PathBuf};

use crate::FibError;

/// Reads one; `key` is a path such as `ipv4/ip_forward`.
pub(crate) fn get(key: &str) -> Result<String, FibError> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(FibError::Sysctl { path, source }),
    }
}

/// Writes one, unless it has that value already: a container may have a read-only /proc/sys that is right as it is.
pub(crate) fn set(key: &str, value: &str) -> Result<(), FibError> {
    if get(key).is_ok_and(|now| now == value) {
        return Ok(());
    }
    let path = PathBuf::from("/proc/sys/net").join(key);
    fs::write(&path, value).map_err(|source| FibError::Sysctl { path, source })
}
