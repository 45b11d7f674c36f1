//! Replays the corpus: what the fuzzer found worth keeping, and every input that once broke something.

use std::fs;
use std::path::{Path, PathBuf};

use linnet_fuzz::CHECKS;

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| entry.expect("a folder that can be read").path());
    files.map(|path| (path.clone(), fs::read(&path).expect("a file that can be read"))).collect()
}

#[test]
fn every_input_that_was_kept_holds() {
    for (name, check) in CHECKS {
        let inputs = inputs(name);
        assert!(inputs.len() >= 5, "the corpus of {name} has only {} inputs", inputs.len());
        for (path, input) in inputs {
            let held = std::panic::catch_unwind(|| check(&input));
            assert!(held.is_ok(), "{name} does not hold of {}", path.display());
        }
    }
}

#[test]
fn every_check_has_a_target_and_a_folder_and_no_folder_is_left_over() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    };
    let mut checks: Vec<String> = CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    checks.sort();
    assert_eq!(names("targets"), checks);
    assert_eq!(names("corpus"), checks);
}
