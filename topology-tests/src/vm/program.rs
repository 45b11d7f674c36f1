//! A program of this machine that a virtual one takes along, with the shared libraries that it loads.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Archive;
use super::machine::{MachineError, at, tool};
use crate::lab::Options;

/// Where Debian has programs, for a PATH that lacks some.
const FOLDERS: [&str; 7] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/frr"];

/// Puts a program into a machine's file system: one of the workspace (`linnetd`) into `/usr/bin`, stripped with the help
/// of the folder `scratch`; any other where it is here. A name with a slash is a path.
pub(super) fn embark<W: Write>(name: &str, scratch: &Path, archive: &mut Archive<W>) -> Result<(), MachineError> {
    let (source, inside, built) = find(name)?;
    if archive.has(&inside) {
        return Ok(());
    }
    let said = match Command::new("ldd").arg(&source).output() {
        // A static program and a script are no fault: ldd calls them "not a dynamic executable" and fails.
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return Err(MachineError::no_tool("ldd", &error)),
    };
    for library in libraries(&said) {
        let library = library.map_err(|library| MachineError::NoLibrary { program: name.to_owned(), library })?;
        archive.copy(library, library).map_err(at(library))?;
    }
    let taken = if built { strip(&source, scratch)? } else { source };
    archive.copy(&taken, &inside).map_err(at(&taken))
}

/// Here, in the machine, and whether it is of this workspace.
fn find(name: &str) -> Result<(PathBuf, PathBuf, bool), MachineError> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        let inside = std::path::absolute(&path).map_err(at(&path))?;
        // A test, which cargo puts into a folder in there.
        let built = inside.starts_with(Options::default().programs);
        return if path.is_file() { Ok((path, inside, built)) } else { Err(missing(name)) };
    }
    let built = Options::default().programs.join(name);
    if built.is_file() {
        return Ok((built, Path::new("/usr/bin").join(name), true));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).map(|folder| folder.join(name));
    let found = folders.find(|path| path.is_absolute() && path.is_file()).ok_or_else(|| missing(name))?;
    Ok((found.clone(), found, false))
}

fn missing(name: &str) -> MachineError {
    let next = match name {
        "linnetd" | "linnet" | "lab" | "vm" => "cargo build -p linnetd -p linnet -p topology-tests".to_owned(),
        "busybox" => "apt-get install --no-install-recommends busybox-static".to_owned(),
        "modprobe" => "apt-get install --no-install-recommends kmod".to_owned(),
        name => format!("`apt-file search bin/{name}` finds its package"),
    };
    MachineError::NoProgram { program: name.to_owned(), next }
}

/// The paths in what ldd said; as an error, the name of a library that is nowhere.
fn libraries(said: &str) -> impl Iterator<Item = Result<&Path, String>> {
    // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)", "libx.so => not found"
    said.lines().filter_map(|line| {
        if let Some(name) = line.trim().strip_suffix(" => not found") {
            return Some(Err(name.to_owned()));
        }
        let path = line.split_whitespace().rev().nth(1)?;
        path.starts_with('/').then(|| Ok(Path::new(path)))
    })
}

/// A copy without symbols: a debug build's are three quarters of it, and all of it is held in memory.
fn strip(source: &Path, scratch: &Path) -> Result<PathBuf, MachineError> {
    let copy = scratch.join("stripped");
    let mut command = Command::new("strip");
    tool(command.arg("--strip-unneeded").arg("-o").arg(&copy).arg(source))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_loads_is_read_from_ldd_and_what_is_nowhere_is_named() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibfrr.so.0 => /usr/lib/frr/libfrr.so.0 (0x00007f)\n\
                    \tlibgone.so.1 => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let got: Vec<_> = libraries(said).collect();
        let path = |path| Ok(Path::new(path));
        assert_eq!(
            got,
            [path("/usr/lib/frr/libfrr.so.0"), Err("libgone.so.1".to_owned()), path("/lib64/ld-linux-x86-64.so.2")]
        );
    }
}
