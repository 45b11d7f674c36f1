//! The file that remembers endpoints, `endpoints.json` in the state directory: the one place that knows its format.
//!
//! A change is written to a new file, made durable, and put in the old one's place: whatever crashes when, the file is
//! either the old one or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const NAME: &str = "endpoints.json";
const VERSION: u32 = 1;
/// Far above 250 pods; a larger file is not ours.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// An endpoint as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `namespace/name`.
    pub name: String,
    /// The pod's network namespace.
    pub netns: PathBuf,
    /// The pod's end of the interface.
    pub interface: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    endpoints: Vec<Record>,
}

/// Why the state is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file or its directory cannot be used.
    #[error("{}: {source}; endpoints cannot be remembered; make state.directory writable for linnetd", .path.display())]
    Io {
        /// What was tried.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file says something that this version does not understand.
    #[error("{}: {what}; the endpoints of an earlier run are not known; restore the file, or move it away to start without them", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Reads all records; none if there is no file yet.
///
/// # Errors
/// The file is there and cannot be read or understood.
pub(super) fn load(directory: &Path) -> Result<Vec<Record>, RecordError> {
    let path = directory.join(NAME);
    let failed = |source| RecordError::Io { path: path.clone(), source };
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            return Err(RecordError::Contents { path, what: format!("it has {} bytes", metadata.len()) });
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let contents: Contents = serde_json::from_str(&text)
        .map_err(|error| RecordError::Contents { path: path.clone(), what: error.to_string() })?;
    if contents.version != VERSION {
        let what = format!("its version is {}, this linnetd knows {VERSION}", contents.version);
        return Err(RecordError::Contents { path, what });
    }
    Ok(contents.endpoints)
}

/// Makes `records` the file's contents, durably.
///
/// # Errors
/// What could not be written; the old file stays.
pub(super) fn store(directory: &Path, records: &[Record]) -> Result<(), RecordError> {
    let path = directory.join(NAME);
    let temporary = directory.join(format!("{NAME}.new"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = File::create(&temporary)?;
        serde_json::to_writer_pretty(&mut file, &Contents { version: VERSION, endpoints: records.to_vec() })?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| RecordError::Io { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    fn record(name: &str) -> Record {
        Record {
            name: name.into(),
            netns: "/run/netns/a".into(),
            interface: "eth0".into(),
            addresses: vec!["10.244.1.2".parse().unwrap(), "fd00:244:1::2".parse().unwrap()],
            labels: [("app".to_owned(), "web".to_owned())].into(),
        }
    }

    #[test]
    fn what_was_stored_is_loaded_and_the_last_one_counts() {
        let directory = Directory::new("record-stored");
        assert_eq!(load(&directory.0).unwrap(), []);
        store(&directory.0, &[record("default/a")]).unwrap();
        store(&directory.0, &[record("default/a"), record("default/b")]).unwrap();
        assert_eq!(load(&directory.0).unwrap(), [record("default/a"), record("default/b")]);
    }

    #[test]
    fn a_crash_while_writing_leaves_the_old_file() {
        let directory = Directory::new("record-crash");
        store(&directory.0, &[record("default/a")]).unwrap();
        fs::write(directory.0.join("endpoints.json.new"), "{\"version\": 1, \"endp").unwrap();
        assert_eq!(load(&directory.0).unwrap(), [record("default/a")]);
        store(&directory.0, &[]).unwrap();
        assert_eq!(load(&directory.0).unwrap(), []);
    }

    #[test]
    fn a_file_that_is_not_understood_is_an_error_and_not_an_empty_one() {
        let directory = Directory::new("record-broken");
        fs::create_dir_all(&directory.0).unwrap();
        for text in ["", "{}", "{\"version\": 2, \"endpoints\": []}", "{\"version\": 1, \"endpoints\": [{}]}"] {
            fs::write(directory.0.join(NAME), text).unwrap();
            assert!(load(&directory.0).is_err(), "{text}");
        }
    }
}
