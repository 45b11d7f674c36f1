//! The folder of documents, with the last good version of each file.
//!
//! Read are regular files (also by way of symbolic links, as Kubernetes mounts a ConfigMap) that end in `.yaml`,
//! `.yml` or `.json` and do not begin with a dot. Subfolders are not entered.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File as FsFile, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::document::MAX_FILE_BYTES;
use crate::{Document, DocumentError, Origin, parse};

/// More files than this are not read; a node's share of a cluster's policies is hundreds.
const MAX_FILES: usize = 4096;
/// All files together.
const MAX_TOTAL_BYTES: usize = 64 << 20;

/// What is known of the folder.
#[derive(Debug)]
pub(super) struct Folder {
    directory: PathBuf,
    files: BTreeMap<String, File>,
    /// What is wrong with the folder as a whole.
    problem: Option<DocumentError>,
    /// The folder as a whole could not be read when it was first looked at.
    unknown: bool,
    scanned: bool,
}

/// One file.
#[derive(Debug)]
struct File {
    /// Of the content last seen; `None` when it could not be read.
    fingerprint: Option<u64>,
    /// The last version that parsed. Empty when there never was one.
    good: Vec<Document>,
    errors: Vec<DocumentError>,
    /// Broken since this program first looked: nobody knows what it selects.
    unknown: bool,
}

/// The documents in force, and what is wrong.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) documents: Vec<Document>,
    pub(super) errors: Vec<DocumentError>,
    /// Files of which no version was ever good since the program started, or the folder itself: what they select is
    /// not known, so nothing that no policy selects may be taken for allowed.
    pub(super) unknown: Vec<String>,
}

impl Folder {
    pub(super) fn new(directory: PathBuf) -> Folder {
        Folder { directory, files: BTreeMap::new(), problem: None, unknown: false, scanned: false }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Looks at the folder again.
    pub(super) fn scan(&mut self) {
        let first = !std::mem::replace(&mut self.scanned, true);
        let names = match document_names(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound && self.files.is_empty() => {
                (self.problem, self.unknown) = (None, false);
                return;
            }
            Err(error) => {
                // Gone while its documents are in force is an accident (a mount, a slip), not an order to open up.
                self.unknown |= first;
                self.problem = Some(self.folder_error(format!(
                    "the folder cannot be read ({error}): the documents that were in it stay in force; bring it back, \
                     or, if no policy is wanted, leave it empty"
                )));
                return;
            }
        };
        (self.problem, self.unknown) = (None, false);
        if names.len() > MAX_FILES {
            self.unknown = first;
            self.problem = Some(self.folder_error(format!(
                "the folder holds {} documents' files; only the first {MAX_FILES} by name are read: put several \
                 documents into one file",
                names.len()
            )));
        }
        self.files.retain(|name, _| names.contains(name));
        let mut budget = MAX_TOTAL_BYTES;
        for name in names.into_iter().take(MAX_FILES) {
            match read(&self.directory.join(&name), budget) {
                Ok(Some(content)) => {
                    budget = budget.saturating_sub(content.len());
                    self.read(name, &content, first);
                }
                // Not a file, or gone since the folder was listed.
                Ok(None) => _ = self.files.remove(&name),
                Err(message) => {
                    let error = DocumentError { file: name.clone(), line: 0, column: 0, message };
                    self.broken(name, None, vec![error], first);
                }
            }
        }
    }

    fn read(&mut self, name: String, content: &[u8], first: bool) {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let fingerprint = Some(hasher.finish());
        if self.files.get(&name).is_some_and(|file| file.fingerprint == fingerprint) {
            return;
        }
        let parsed = match str::from_utf8(content) {
            Ok(text) => parse(&name, text),
            Err(error) => {
                let line = content[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
                let message = "this is not UTF-8 text".into();
                let line = u32::try_from(line).unwrap_or(u32::MAX);
                Err(vec![DocumentError { file: name.clone(), line, column: 1, message }])
            }
        };
        match parsed {
            Ok(good) => {
                self.files.insert(name, File { fingerprint, good, errors: Vec::new(), unknown: false });
            }
            Err(errors) => self.broken(name, fingerprint, errors, first),
        }
    }

    fn broken(&mut self, name: String, fingerprint: Option<u64>, errors: Vec<DocumentError>, first: bool) {
        let file = self.files.entry(name).or_insert(File {
            fingerprint: None,
            good: Vec::new(),
            errors: Vec::new(),
            unknown: first,
        });
        (file.fingerprint, file.errors) = (fingerprint, errors);
    }

    fn folder_error(&self, message: String) -> DocumentError {
        DocumentError { file: self.directory.display().to_string(), line: 0, column: 0, message }
    }

    /// All files together. Of two documents with one name the first, by the files' names, counts.
    pub(super) fn content(&self) -> Content {
        let mut errors: Vec<DocumentError> = self.problem.iter().cloned().collect();
        let mut documents = Vec::new();
        let mut first: HashMap<(&str, Option<&str>, &str), &Origin> = HashMap::new();
        for file in self.files.values() {
            errors.extend(file.errors.iter().cloned());
            for document in &file.good {
                let key = (document.kind(), document.namespace(), document.name());
                if let Some(other) = first.get(&key) {
                    errors.push(twice(document, other));
                    continue;
                }
                first.insert(key, document.origin());
                documents.push(document.clone());
            }
        }
        let mut unknown: Vec<String> =
            self.files.iter().filter(|(_, file)| file.unknown).map(|(name, _)| name.clone()).collect();
        if self.unknown {
            unknown.push(self.directory.display().to_string());
        }
        Content { documents, errors, unknown }
    }
}

fn twice(document: &Document, first: &Origin) -> DocumentError {
    let name = match document.namespace() {
        Some(namespace) => format!("{namespace}/{}", document.name()),
        None => document.name().to_owned(),
    };
    DocumentError {
        file: document.origin().file.to_string(),
        line: document.origin().line,
        column: 1,
        message: format!(
            "{} {name} is already in {first}, and that one counts: rename this one or remove one of them",
            document.kind()
        ),
    }
}

/// The names of files that hold documents, in order.
fn document_names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // A name that is not UTF-8 cannot be written in an error; no tool makes one by accident.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let document = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        if document && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The content of a regular file. `Ok(None)`: it is none, or it is gone.
fn read(path: &Path, budget: usize) -> Result<Option<Vec<u8>>, String> {
    // Without waiting, should somebody have put a pipe here.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file: FsFile = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match fs::symlink_metadata(path) {
                Ok(_) => Err("this is a link to nothing; its last good version stays in force".into()),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(format!("the file cannot be read: {error}")),
    };
    let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Ok(None);
    }
    // One byte more than allowed, so that too much is told from just enough.
    let limit = MAX_FILE_BYTES.min(budget);
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() > limit && limit < MAX_FILE_BYTES {
        return Err(format!("not read: all files together may have {MAX_TOTAL_BYTES} bytes"));
    }
    if content.len() > limit {
        return Err(format!("the file has more than {MAX_FILE_BYTES} bytes: split it"));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests;
