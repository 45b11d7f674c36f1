//! The folder on a real file system.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own, removed at the end.
struct Temporary(PathBuf);

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Temporary {
    fn new() -> Temporary {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("linnet-folder-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Temporary(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn namespace(name: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n")
}

fn names(folder: &Folder) -> Vec<String> {
    folder.content().documents.iter().map(|document| document.name().to_owned()).collect()
}

#[test]
fn only_files_that_hold_documents_are_read() {
    let temporary = Temporary::new();
    for name in ["b.yaml", "a.yml", "c.json", ".hidden.yaml", "d.yaml.swp", "e.yaml~", "notes.txt"] {
        temporary.write(name, &namespace(&name[..1].replace('.', "hidden")));
    }
    fs::create_dir(temporary.0.join("folder.yaml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        temporary.0.join("pipe.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan();
    assert_eq!(names(&folder), ["a", "b", "c"]);
    assert_eq!(folder.content().errors, []);
}

#[test]
fn the_last_good_version_of_a_file_stays_until_it_is_good_again_or_gone() {
    let temporary = Temporary::new();
    temporary.write("a.yaml", &namespace("one"));
    temporary.write("b.yaml", &namespace("other"));
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan();
    temporary.write("a.yaml", "kind: [");
    folder.scan();
    assert_eq!(names(&folder), ["one", "other"]);
    assert_eq!(folder.content().errors.len(), 1);
    assert!(folder.content().unknown.is_empty());
    temporary.write("a.yaml", &namespace("two"));
    folder.scan();
    assert_eq!(names(&folder), ["two", "other"]);
    assert_eq!(folder.content().errors, []);
    fs::remove_file(temporary.0.join("a.yaml")).unwrap();
    folder.scan();
    assert_eq!(names(&folder), ["other"]);
}

#[test]
fn a_file_broken_at_the_first_look_is_unknown_and_one_that_comes_broken_is_not() {
    let temporary = Temporary::new();
    temporary.write("first.yaml", "kind: [");
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan();
    temporary.write("later.yaml", "kind: [");
    folder.scan();
    assert_eq!(folder.content().unknown, ["first.yaml"]);
    assert_eq!(folder.content().errors.len(), 2);
    temporary.write("first.yaml", "kind: [ [");
    folder.scan();
    assert_eq!(folder.content().unknown, ["first.yaml"], "another mistake is no better");
}

#[test]
fn what_cannot_be_read_is_named_and_its_last_good_version_stays() {
    let temporary = Temporary::new();
    temporary.write("a.yaml", &namespace("a"));
    temporary.write("b.yaml", &namespace("b"));
    temporary.write("c.yaml", &namespace("c"));
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan();
    fs::remove_file(temporary.0.join("a.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", temporary.0.join("a.yaml")).unwrap();
    fs::write(temporary.0.join("b.yaml"), b"ok\n\xff").unwrap();
    temporary.write("c.yaml", &"#".repeat(MAX_FILE_BYTES + 1));
    folder.scan();
    assert_eq!(names(&folder), ["a", "b", "c"]);
    let errors: Vec<String> = folder.content().errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "a.yaml:0:0: this is a link to nothing; its last good version stays in force",
            "b.yaml:2:1: this is not UTF-8 text",
            "c.yaml:0:0: the file has more than 1048576 bytes: split it",
        ]
    );
}

#[test]
fn of_two_documents_with_one_name_the_first_counts() {
    let temporary = Temporary::new();
    temporary.write("a.yaml", &namespace("same"));
    temporary.write("b.yaml", &format!("\n{}", namespace("same")));
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan();
    let content = folder.content();
    assert_eq!(content.documents.len(), 1);
    assert_eq!(content.documents[0].origin().to_string(), "a.yaml:1");
    assert_eq!(
        content.errors[0].to_string(),
        "b.yaml:2:1: Namespace same is already in a.yaml:1, and that one counts: rename this one or remove one of them"
    );
}

#[test]
fn a_folder_that_is_not_there_holds_nothing_and_one_that_vanishes_keeps_what_it_held() {
    let temporary = Temporary::new();
    let inner = temporary.0.join("policy.d");
    let mut folder = Folder::new(inner.clone());
    folder.scan();
    assert_eq!(folder.content().errors, []);
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("a.yaml"), namespace("a")).unwrap();
    folder.scan();
    fs::remove_dir_all(&inner).unwrap();
    folder.scan();
    assert_eq!(names(&folder), ["a"]);
    assert!(folder.content().errors[0].message.contains("stay in force"));
    fs::create_dir(&inner).unwrap();
    folder.scan();
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_path_that_is_no_folder_is_unknown_from_the_start() {
    let temporary = Temporary::new();
    temporary.write("file", "");
    let mut folder = Folder::new(temporary.0.join("file"));
    folder.scan();
    let content = folder.content();
    assert_eq!((content.errors.len(), content.unknown.len()), (1, 1));
}
