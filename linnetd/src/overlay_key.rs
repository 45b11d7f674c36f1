//! This node's WireGuard key: made once, kept in the state directory, the same after each restart.
//!
//! The file has the form of `wg genkey`: 32 octets in base64. It stays when Linnet is cleaned up, because it is who this node
//! is to the others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fib_sync::PrivateKey;
use tracing::{info, warn};

/// In the state directory.
pub(crate) const NAME: &str = "wireguard.key";
/// Longer is no key file.
const MOST: u64 = 256;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file or its folder.
    #[error("{}: {source}; this node has no WireGuard key, so there is no overlay; see that the directory is writable, and the file root's", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the file.
    #[error("{}: this is no WireGuard key (32 octets in base64, as `wg genkey` writes them); there is no overlay; put back the file, or remove it for a new key", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the key; makes one if there is no file.
///
/// # Errors
/// The file cannot be read, is no key, or cannot be written. A file that is there is never written over.
pub(crate) fn load_or_make(directory: &Path) -> Result<PrivateKey, KeyError> {
    let path = directory.join(NAME);
    let failed = |source| KeyError::Io { path: path.clone(), source };
    match fs::metadata(&path) {
        Ok(found) if found.len() > MOST || !found.is_file() => Err(KeyError::Contents { path }),
        Ok(found) => {
            if found.permissions().mode() & 0o077 != 0 {
                let path = path.display();
                warn!(%path, "others than root can read this node's WireGuard key; chmod 600 it, and remove it for a new key if somebody may have");
            }
            let text = fs::read_to_string(&path).map_err(failed)?;
            PrivateKey::from_text(&text).ok_or(KeyError::Contents { path })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut octets = [0; 32];
            rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
                .map_err(|errno| failed(errno.into()))
                .and_then(|count| {
                    if count == octets.len() { Ok(()) } else { Err(failed(io::ErrorKind::UnexpectedEof.into())) }
                })?;
            let key = PrivateKey::new(octets);
            octets.fill(0);
            store(directory, &path, &key).map_err(failed)?;
            info!(path = %path.display(), "this node has made its WireGuard key");
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Written whole, or not at all, and on the disk before anybody hears of it.
fn store(directory: &Path, path: &Path, key: &PrivateKey) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!("{NAME}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(key.to_secret_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    #[test]
    fn a_key_is_made_once_for_root_alone_and_is_the_same_ever_after() {
        let directory = Directory::new("key-made");
        let made = load_or_make(&directory.0).unwrap();
        let file = directory.0.join(NAME);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_make(&directory.0).unwrap(), made);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
        fs::remove_file(&file).unwrap();
        // What a crash left of an earlier attempt.
        fs::write(directory.0.join(format!("{NAME}.new")), "AA").unwrap();
        assert_ne!(load_or_make(&directory.0).unwrap(), made);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error_and_is_not_written_over() {
        let directory = Directory::new("key-broken");
        fs::create_dir_all(&directory.0).unwrap();
        for text in ["", "AAAA", &"A".repeat(1000)] {
            fs::write(directory.0.join(NAME), text).unwrap();
            let error = load_or_make(&directory.0).unwrap_err().to_string();
            assert!(error.contains("this is no WireGuard key"), "{error}");
            assert_eq!(fs::read_to_string(directory.0.join(NAME)).unwrap(), text);
        }
    }
}
