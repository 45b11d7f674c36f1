//! What the documents tell a stranger to type is loaded by the programs that it is for, and the targets they name exist.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use topology_tests::lab::Options;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("the document is in the repository")
}

/// The code blocks of a Markdown text that are written in `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(named)) => open = Some((named == language, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Hands `text` in a file to a program that only checks it.
fn check(name: &str, text: &str, command: impl FnOnce(&Path) -> Command) -> Output {
    let file = std::env::temp_dir().join(format!("linnet-documents-{}-{name}", std::process::id()));
    std::fs::write(&file, text).expect("the temporary folder takes a file");
    let output = command(&file).output();
    std::fs::remove_file(&file).expect("the file is still there");
    output.expect("the program is installed")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_readmes_configuration_is_one_that_linnetd_takes() {
    assert!(linnetd_takes_all_of("README.md") > 0);
}

#[test]
fn the_configurations_of_every_page_of_the_documentation_are_ones_that_linnetd_takes() {
    let pages = std::fs::read_dir(root().join("docs")).expect("there are documents beside the README");
    let names = pages.flatten().map(|page| page.file_name().to_string_lossy().into_owned());
    let taken: usize =
        names.filter(|name| name.ends_with(".md")).map(|name| linnetd_takes_all_of(&format!("docs/{name}"))).sum();
    assert!(taken > 0);
}

/// How many there are: pages without any are pages too.
fn linnetd_takes_all_of(name: &str) -> usize {
    let configurations = blocks(&document(name), "toml");
    for (number, text) in configurations.iter().enumerate() {
        let output = check(&format!("{}-{number}.toml", name.replace('/', "-")), text, |file| {
            let mut linnetd = Command::new(Options::default().programs.join("linnetd"));
            linnetd.args(["--check", "--config"]).arg(file);
            linnetd
        });
        assert!(output.status.success(), "{}\n{text}", said(&output));
    }
    configurations.len()
}

#[test]
fn the_readmes_frr_configuration_is_one_that_frr_takes() {
    let configurations = blocks(&document("README.md"), "frr");
    assert!(!configurations.is_empty());
    for text in configurations {
        let output = check("frr.conf", &text, |file| {
            let mut bgpd = Command::new("/usr/lib/frr/bgpd");
            bgpd.args(["--dryrun", "--log", "stdout", "--config_file"]).arg(file);
            bgpd
        });
        assert!(output.status.success() && !said(&output).contains("rror"), "{}\n{text}", said(&output));
    }
}

#[test]
fn the_readmes_bird_configuration_is_one_that_bird_takes() {
    let configurations = blocks(&document("README.md"), "bird");
    assert!(!configurations.is_empty());
    for text in configurations {
        let output = check("bird.conf", &text, |file| {
            let mut bird = Command::new("/usr/sbin/bird");
            bird.args(["-p", "-c"]).arg(file);
            bird
        });
        assert!(output.status.success(), "{}\n{text}", said(&output));
    }
}

#[test]
fn every_make_target_that_a_document_names_is_there() {
    let makefile = document("Makefile");
    for name in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = document(name);
        for (_, rest) in text.match_indices("`make ").map(|(at, found)| text.split_at(at + found.len())) {
            let target: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{name} names `make {target}`, which the Makefile lacks"
            );
        }
    }
}

#[test]
fn every_linnet_command_that_the_readme_names_is_one_that_linnet_has() {
    for line in blocks(&document("README.md"), "console").concat().lines().filter(|line| line.starts_with("linnet ")) {
        let verbs = line.split_whitespace().skip(1).take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
        let output = Command::new(Options::default().programs.join("linnet")).args(verbs).arg("--help").output();
        let output = output.expect("linnet was built beside this test");
        assert!(output.status.success(), "{line}\n{}", said(&output));
    }
}

/// The functions that a text names as `room::function`.
fn named_functions(text: &str) -> Vec<&str> {
    let cells = text.split('`').filter(|cell| cell.contains("::") && !cell.contains(' '));
    cells.filter_map(|cell| cell.rsplit("::").next()).collect()
}

/// Fails if one of them is nowhere in the sources.
fn check_that_they_exist(name: &str, functions: &[&str]) {
    let sources =
        Command::new("git").args(["grep", "-hE", "fn [a-z0-9_]+\\(", "--", "*.rs"]).current_dir(root()).output();
    let sources = said(&sources.expect("git is installed"));
    for function in functions {
        assert!(sources.contains(&format!("fn {function}(")), "{name} names {function}, which is no function here");
    }
}

#[test]
fn every_test_that_the_architecture_names_as_a_guard_exists() {
    let text = document("ARCHITECTURE.md");
    let invariants = text.split("\n## ").find(|section| section.starts_with("What must always hold"));
    let named = named_functions(invariants.expect("ARCHITECTURE.md has its section on invariants"));
    check_that_they_exist("ARCHITECTURE.md", &named);
    let faults = text.split("\n## ").find(|section| section.starts_with("If the kernel refuses"));
    check_that_they_exist("ARCHITECTURE.md", &named_functions(faults.expect("it has its section on faults")));
    assert!(named.len() >= 10, "ARCHITECTURE.md names the test that guards each of the ten invariants");
}

/// Fails if a row of the page's tables, but for those that begin with `heading`, names no test or one that does not exist.
fn check_that_rows_name_tests(name: &str, heading: &str, at_least: usize) {
    let text = document(name);
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with(heading)).collect();
    assert!(rows.len() >= at_least, "{name} has its table");
    for row in rows {
        let named = named_functions(row);
        assert!(!named.is_empty(), "no test is named in: {row}");
        check_that_they_exist(name, &named);
    }
}

#[test]
fn every_test_that_the_table_of_incidents_names_exists_and_every_row_names_one() {
    check_that_rows_name_tests("docs/hostile-input.md", "| What c", 15);
}

#[test]
fn every_test_that_the_table_of_routers_names_exists_and_every_row_names_one() {
    check_that_rows_name_tests("docs/interoperability.md", "| What |", 30);
}

#[test]
fn every_table_of_a_document_has_all_of_its_rows() {
    let pages = std::fs::read_dir(root().join("docs")).expect("there are documents beside the README");
    let pages = pages.flatten().map(|page| format!("docs/{}", page.file_name().to_string_lossy()));
    let others = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(String::from);
    for name in pages.filter(|name| name.ends_with(".md")).chain(others) {
        let text = document(&name);
        let lines: Vec<&str> = std::iter::once("").chain(text.lines()).collect();
        for at in 1..lines.len() {
            let first = lines[at].starts_with('|') && !lines[at - 1].starts_with('|');
            let ruled = lines.get(at + 1).is_some_and(|line| line.starts_with("|---") || line.starts_with("| ---"));
            assert!(!first || ruled, "{name}:{at}: a row without its table: {}", lines[at]);
        }
    }
}
