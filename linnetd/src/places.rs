//! The file that remembers where runs put routes into the kernel, `routes.json` in the state directory: a run with another `fib.table` or
//! `fib.metric` finds what the earlier ones left. A route of Linnet's protocol elsewhere is somebody's experiment, and nobody's to remove.
//!
//! A place is written down, durably, before the first route is put there, and struck out when the last one is gone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fib_sync::RoutePlace;
use serde::{Deserialize, Serialize};

const NAME: &str = "routes.json";
const VERSION: u32 = 1;
/// Places that are remembered; a person changes them seldom.
const MOST: usize = 64;
const MAX_BYTES: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    places: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    table: u32,
    metric: u32,
}

/// Why the places are not to be had.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; routes that a run with another fib.table or fib.metric left stay in the kernel; make state.directory writable for linnetd, or \
         move the file away and remove such routes by hand", .path.display())]
pub struct PlacesError {
    path: PathBuf,
    source: io::Error,
}

/// Notes that routes are put `here` from now on. Returns where else earlier runs may have left some.
///
/// # Errors
/// The file cannot be read, understood or written; it stays as it is.
pub fn note(directory: &Path, here: RoutePlace) -> Result<Vec<RoutePlace>, PlacesError> {
    let mut places = load(directory)?;
    if !places.contains(&here) {
        places.push(here);
        places.drain(..places.len().saturating_sub(MOST));
        store(directory, &places)?;
    }
    places.retain(|place| *place != here);
    Ok(places)
}

/// Every place that is written down.
///
/// # Errors
/// The file is there and cannot be read or understood.
pub fn load(directory: &Path) -> Result<Vec<RoutePlace>, PlacesError> {
    let path = directory.join(NAME);
    let read = || -> io::Result<Vec<RoutePlace>> {
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                return Err(io::Error::other(format!("it has {} bytes", metadata.len())));
            }
            Ok(_) => {}
        }
        let contents: Contents = serde_json::from_str(&fs::read_to_string(&path)?)?;
        if contents.version != VERSION {
            let what = format!("its version is {}, this linnetd knows {VERSION}", contents.version);
            return Err(io::Error::other(what));
        }
        Ok(contents.places.into_iter().map(|Entry { table, metric }| RoutePlace { table, metric }).collect())
    };
    read().map_err(|source| PlacesError { path: path.clone(), source })
}

/// There are no routes any more but in these places.
///
/// # Errors
/// The file cannot be written; it stays as it is.
pub fn store(directory: &Path, places: &[RoutePlace]) -> Result<(), PlacesError> {
    let path = directory.join(NAME);
    let temporary = directory.join(format!("{NAME}.new"));
    let entries = places.iter().map(|RoutePlace { table, metric }| Entry { table: *table, metric: *metric });
    let contents = Contents { version: VERSION, places: entries.collect() };
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = File::create(&temporary)?;
        serde_json::to_writer_pretty(&mut file, &contents)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| PlacesError { path: path.clone(), source })
}

/// Forgets all of them: nothing of Linnet's is left.
///
/// # Errors
/// The file cannot be removed.
pub fn forget(directory: &Path) -> Result<(), PlacesError> {
    let path = directory.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PlacesError { path, source: error }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    const fn place(table: u32, metric: u32) -> RoutePlace {
        RoutePlace { table, metric }
    }

    #[test]
    fn each_run_hears_of_the_places_of_those_before_until_they_are_struck_out() {
        let Directory(directory) = &Directory::new("places-noted");
        assert_eq!(note(directory, place(254, 76)).unwrap(), []);
        assert_eq!(note(directory, place(254, 76)).unwrap(), []);
        assert_eq!(note(directory, place(100, 76)).unwrap(), [place(254, 76)]);
        assert_eq!(note(directory, place(100, 77)).unwrap(), [place(254, 76), place(100, 76)]);
        assert_eq!(note(directory, place(254, 76)).unwrap(), [place(100, 76), place(100, 77)]);
        store(directory, &[place(254, 76)]).unwrap();
        assert_eq!(note(directory, place(254, 76)).unwrap(), []);
        forget(directory).unwrap();
        forget(directory).unwrap();
        assert_eq!(load(directory).unwrap(), []);
    }

    #[test]
    fn the_file_never_grows_without_end() {
        let Directory(directory) = &Directory::new("places-many");
        (1..=100).for_each(|table| drop(note(directory, place(table, 76)).unwrap()));
        let known = load(directory).unwrap();
        assert_eq!((known.len(), known[0], known[MOST - 1]), (MOST, place(37, 76), place(100, 76)));
    }

    #[test]
    fn a_file_that_is_not_understood_is_an_error_and_stays() {
        let Directory(directory) = &Directory::new("places-broken");
        fs::create_dir_all(directory).unwrap();
        for text in ["", "{}", "{\"version\": 2, \"places\": []}", "{\"version\": 1, \"places\": [{\"table\": -1}]}"] {
            fs::write(directory.join(NAME), text).unwrap();
            assert!(note(directory, place(254, 76)).is_err(), "{text}");
            assert_eq!(fs::read_to_string(directory.join(NAME)).unwrap(), text);
        }
    }
}
