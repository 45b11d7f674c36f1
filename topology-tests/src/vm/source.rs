//! A kernel built of Debian's source, for what none of Debian's kernels has: a minimal one, with what `kernels/tcp-ao.config`
//! says. Built once; kept is its image, with the configuration that it was built of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::kernel::{Kernel, download, empty, lock};
use super::machine::{MachineError, at, tool};

/// What the kernel has; all else is left out.
const OPTIONS: &str = include_str!("../../kernels/tcp-ao.config");

/// The image: as it was built before from these options, or else built now. A second process that wants it meanwhile waits.
pub(super) fn image(cache: &Path) -> Result<PathBuf, MachineError> {
    let _guard = lock(cache, "lock-tcp-ao")?;
    let folder = cache.join("linux-tcp-ao");
    let image = folder.join("bzImage");
    if fs::read_to_string(folder.join("options")).is_ok_and(|options| options == OPTIONS) && image.is_file() {
        return Ok(image);
    }
    let fresh = empty(cache.join("unfinished-tcp-ao"))?;
    build(&fresh)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    fs::rename(&fresh, &folder).map_err(at(&folder))?;
    Ok(image)
}

/// Leaves `bzImage` and `options` in the folder, and nothing else.
fn build(folder: &Path) -> Result<(), MachineError> {
    // Before the long work: what would be missing in the middle of it.
    for name in ["make", "gcc", "flex", "bison", "bc", "xz"] {
        tool(Command::new(name).arg("--version"))?;
    }
    let package = Kernel::TcpAo.package();
    eprintln!("  … {package} is downloaded and built with TCP-AO, once, to {}: some minutes", folder.display());
    download(package, folder)?;
    let (unpacked, source) = (folder.join("usr"), folder.join("source"));
    let packed = unpacked.join("src").join(format!("{package}.tar.xz"));
    fs::create_dir(&source).map_err(at(&source))?;
    tool(Command::new("tar").arg("-xJf").arg(&packed).arg("--strip-components=1").arg("-C").arg(&source))?;
    fs::remove_dir_all(&unpacked).map_err(at(&unpacked))?;
    let options = folder.join("options");
    fs::write(&options, OPTIONS).map_err(at(&options))?;
    let make = || {
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(&source);
        make
    };
    tool(make().arg(format!("KCONFIG_ALLCONFIG={}", options.display())).arg("allnoconfig"))?;
    let chosen = source.join(".config");
    let missing = missing(&fs::read_to_string(&chosen).map_err(at(&chosen))?);
    if !missing.is_empty() {
        return Err(MachineError::Options { missing: missing.join(", ") });
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    tool(make().arg(format!("-j{processors}")).arg("bzImage"))?;
    let built = source.join("arch/x86/boot/bzImage");
    fs::rename(&built, folder.join("bzImage")).map_err(at(&built))?;
    fs::remove_dir_all(&source).map_err(at(&source))
}

/// What was asked for and is not in a configuration: misspelt, or without what it depends on, which the kernel's `make` leaves
/// out in silence.
fn missing(chosen: &str) -> Vec<&'static str> {
    let wanted = OPTIONS.lines().filter(|line| line.starts_with("CONFIG_"));
    wanted.filter(|option| !chosen.lines().any(|line| line == *option)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_the_kernels_make_has_left_out_is_named() {
        assert_eq!(missing(OPTIONS), Vec::<&str>::new());
        let without = OPTIONS.replace("CONFIG_TCP_AO=y", "# CONFIG_TCP_AO is not set");
        assert_eq!(missing(&without), ["CONFIG_TCP_AO=y"]);
    }
}
