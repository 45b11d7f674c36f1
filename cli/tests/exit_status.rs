//! The exit status and the words of `linnet` when it cannot do what was asked, as a script meets them.

use std::process::{Command, Output};

fn linnet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linnet"))
        .env_remove("LINNET_SOCKET")
        .args(arguments)
        .output()
        .expect("the binary under test starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_daemon_the_status_is_3_and_the_error_names_the_socket_and_the_next_step() {
    let output = linnet(&["--socket", "/nonexistent/linnetd.sock", "bgp", "summary"]);
    assert_eq!(output.status.code(), Some(3));
    let error = stderr(&output);
    assert!(error.contains("/nonexistent/linnetd.sock") && error.contains("start linnetd"), "{error}");
}

#[test]
fn wrong_use_is_2() {
    for arguments in [
        &["bgp", "sumary"][..],
        &["bgp", "disable"],
        &["bgp", "enable", "x", "--message", "x"],
        &["bgp", "reset", "x", "--soft", "--message", "x"],
        &["bgp", "reset", "x", "--soft", "--keep-routes"],
        &["route", "get", "10.0.0"],
        &["bgp", "routes", "--rejected", "--received", "x"],
        &["endpoint", "add", "--name", "x"],
        &["endpoint", "add", "--name", "x", "--netns", "x", "--ip", "10.0.0.1", "--label", "x"],
    ] {
        let output = linnet(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn completion_needs_no_daemon() {
    let output = linnet(&["--socket", "/nonexistent", "completion", "bash"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("linnet"));
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_linnet"))
        .args(["completion", "bash"])
        .stdout(writer)
        .status()
        .expect("the binary under test starts");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn help_lists_the_nouns_and_gives_examples() {
    insta::assert_snapshot!(String::from_utf8(linnet(&["--help"]).stdout).unwrap());
}
