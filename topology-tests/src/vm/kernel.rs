//! A kernel of Debian's: its package, downloaded and unpacked once, and the modules of it that a machine takes along; or
//! built of Debian's source (`source.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use super::archive::Archive;
use super::machine::{MachineError, at, tool};
use super::source;

/// Debian's kernels for clouds: everything about networks, little about hardware. And one of Debian's source with what those
/// have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 12's.
    V6_1,
    /// Debian 13's, which Debian 12 offers too.
    V6_12,
    /// The source of that one, built with TCP-AO (`kernels/tcp-ao.config`) and without modules. It takes some minutes once.
    TcpAo,
}

impl Kernel {
    /// The package that depends on the newest of its kind, or has its source.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-cloud-amd64",
            Self::V6_12 => "linux-image-6.12-cloud-amd64",
            Self::TcpAo => "linux-source-6.12",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::TcpAo => "6.12-tcp-ao",
        })
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::V6_1, Self::V6_12, Self::TcpAo];
        let words = || known.map(|kernel| kernel.to_string()).join(", ");
        known.into_iter().find(|kernel| kernel.to_string() == text).ok_or_else(|| format!("known are {}", words()))
    }
}

/// Folders of modules that a machine takes along, below `kernel/`: networks and what they ask for by a name at run time
/// (ciphers), which no dependency shows. Of the drivers, those of devices that are not hardware.
const FOLDERS: [&str; 11] = [
    "net",
    "crypto",
    "arch",
    "lib",
    "fs/overlayfs",
    "drivers/net/*",
    "drivers/net/vxlan",
    "drivers/net/wireguard",
    "drivers/net/ipvlan",
    "drivers/net/bonding",
    "drivers/net/netdevsim",
];

/// A kernel that lies unpacked on this machine.
#[derive(Clone, Debug)]
pub(super) struct Unpacked {
    /// What a boot loader loads.
    pub(super) image: PathBuf,
    /// Where it has modules.
    modules: Option<Modules>,
}

/// The modules of a kernel.
#[derive(Clone, Debug)]
struct Modules {
    /// `lib/modules/RELEASE`.
    folder: PathBuf,
    /// As `uname -r` says it.
    release: String,
}

impl Unpacked {
    /// The newest that was unpacked before; without one, Debian's newest. A second process that wants it at the same time waits.
    pub(super) fn get(kernel: Kernel) -> Result<Self, MachineError> {
        let cache = cache()?;
        if kernel == Kernel::TcpAo {
            return Ok(Self { image: source::image(&cache)?, modules: None });
        }
        let _guard = lock(&cache, "lock")?;
        if let Some(found) = newest(&cache, kernel)? {
            return Self::read(&found);
        }
        let fresh = empty(cache.join("unfinished"))?;
        let package = current(kernel)?;
        eprintln!("  … {package} is downloaded and unpacked, once, to {}", cache.display());
        unpack(&package, &fresh)?;
        let (folder, unpacked) = (cache.join(&package), Self::read(&fresh)?);
        if let Some(modules) = &unpacked.modules {
            tool(Command::new("depmod").arg("-b").arg(&fresh).arg(&modules.release))?;
        }
        fs::rename(&fresh, &folder).map_err(at(&folder))?;
        Self::read(&folder)
    }

    fn read(folder: &Path) -> Result<Self, MachineError> {
        let all = folder.join("lib/modules");
        let strange = || MachineError::Package { folder: folder.to_owned() };
        let release = names(&all)?.into_iter().next().ok_or_else(strange)?;
        let image = folder.join(format!("boot/vmlinuz-{release}"));
        if !image.is_file() {
            return Err(strange());
        }
        Ok(Self { image, modules: Some(Modules { folder: all.join(&release), release }) })
    }

    /// Puts the modules into a machine's file system, with the indexes in which `modprobe` looks them up.
    pub(super) fn embark<W: Write>(&self, archive: &mut Archive<W>) -> Result<(), MachineError> {
        let Some(Modules { folder, release }) = &self.modules else { return Ok(()) };
        let inside = Path::new("/lib/modules").join(release);
        let depends = folder.join("modules.dep");
        let text = fs::read_to_string(&depends).map_err(at(&depends))?;
        let depends: BTreeMap<&str, Vec<&str>> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(module, needs)| (module, needs.split_whitespace().collect()))
            .collect();
        let chosen = depends.keys().filter(|module| FOLDERS.iter().any(|folder| is_in(module, folder)));
        // modules.dep lists all that a module needs, also what its needs need.
        let wanted: BTreeSet<&str> =
            chosen.flat_map(|module| [*module].into_iter().chain(depends[module].iter().copied())).collect();
        for module in wanted {
            let source = folder.join(module);
            archive.copy(&source, &inside.join(module)).map_err(at(&source))?;
        }
        for name in names(folder)?.iter().filter(|name| name.starts_with("modules.")) {
            let source = folder.join(name);
            archive.copy(&source, &inside.join(name)).map_err(at(&source))?;
        }
        Ok(())
    }
}

/// Whether a module (`kernel/net/ipv4/ipip.ko`) is in a folder (`net`), or directly in it (`net/*`).
fn is_in(module: &str, folder: &str) -> bool {
    let (folder, direct) = folder.strip_suffix("/*").map_or((folder, false), |folder| (folder, true));
    let rest = module.strip_prefix("kernel/").and_then(|path| path.strip_prefix(folder)?.strip_prefix('/'));
    rest.is_some_and(|rest| !direct || !rest.contains('/'))
}

/// Where kernels lie unpacked, one folder a package.
fn cache() -> Result<PathBuf, MachineError> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    base.map(|base| base.join("linnet/kernels")).ok_or(MachineError::NoCache)
}

/// Waits until no other process holds the lock of that name, and holds it until the answer is dropped.
pub(super) fn lock(cache: &Path, name: &str) -> Result<File, MachineError> {
    fs::create_dir_all(cache).map_err(at(cache))?;
    let path = cache.join(name);
    let guard = File::create(&path).map_err(at(&path))?;
    guard.lock().map_err(at(&path))?;
    Ok(guard)
}

/// An empty folder, in the place of what a process left that was killed at its work: nobody else writes there under the lock.
pub(super) fn empty(folder: PathBuf) -> Result<PathBuf, MachineError> {
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    fs::create_dir(&folder).map_err(at(&folder))?;
    Ok(folder)
}

/// The newest unpacked package of a kind.
fn newest(cache: &Path, kernel: Kernel) -> Result<Option<PathBuf>, MachineError> {
    let start = format!("linux-image-{kernel}.");
    let numbers = |name: &str| -> Vec<u32> { name.split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).collect() };
    let found = names(cache)?.into_iter().filter(|name| name.starts_with(&start)).max_by_key(|name| numbers(name));
    Ok(found.map(|name| cache.join(name)))
}

/// The package that Debian offers now.
fn current(kernel: Kernel) -> Result<String, MachineError> {
    let said = tool(Command::new("apt-cache").args(["depends", kernel.package()]))?;
    let mut depends = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let start = format!("linux-image-{kernel}.");
    let package = depends.find(|package| package.starts_with(&start)).map(str::to_owned);
    package.ok_or(MachineError::NoKernel { kernel, package: kernel.package() })
}

/// Downloads a package and unpacks it into `folder`.
pub(super) fn download(package: &str, folder: &Path) -> Result<(), MachineError> {
    // As root, apt would download as the user `_apt`, who may not write into a private folder.
    let sandbox = "APT::Sandbox::User=root";
    tool(Command::new("apt-get").args(["-q", "-o", sandbox, "download", package]).current_dir(folder))?;
    let deb = names(folder)?.into_iter().find(|name| name.ends_with(".deb"));
    let deb = folder.join(deb.ok_or_else(|| MachineError::Package { folder: folder.to_owned() })?);
    tool(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(folder))?;
    fs::remove_file(&deb).map_err(at(&deb))
}

/// Downloads a package and unpacks it into `folder`, its modules in plain.
fn unpack(package: &str, folder: &Path) -> Result<(), MachineError> {
    download(package, folder)?;
    let mut packed = Vec::new();
    files(&folder.join("lib/modules"), &mut packed)?;
    packed.retain(|path| path.extension().is_some_and(|extension| extension == "xz"));
    if !packed.is_empty() {
        // Unpacked once here, not in every machine, which is slow.
        tool(Command::new("xz").arg("--decompress").args(&packed))?;
    }
    Ok(())
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), MachineError> {
    for name in names(folder)? {
        let path = folder.join(name);
        match fs::symlink_metadata(&path).map_err(at(&path))? {
            about if about.is_dir() => files(&path, found)?,
            about if about.is_file() => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, MachineError> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_kernels_in_the_cache_is_taken_by_number_and_not_by_letter() {
        let cache = std::env::temp_dir().join(format!("linnet-kernels-{}", std::process::id()));
        for name in
            ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.117+deb12-cloud-amd64", "6.1.0-10-cloud-amd64"]
        {
            fs::create_dir_all(cache.join(format!("linux-image-{name}"))).unwrap();
        }
        let found = [Kernel::V6_1, Kernel::V6_12].map(|kernel| newest(&cache, kernel).unwrap().unwrap());
        fs::remove_dir_all(&cache).unwrap();
        let names = found.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        assert_eq!(names, ["linux-image-6.1.0-56-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"]);
    }

    #[test]
    fn of_a_folder_with_a_star_only_what_is_directly_in_it_is_taken() {
        let cases = [
            ("kernel/net/ipv4/ipip.ko", "net", true),
            ("kernel/netfs/netfs.ko", "net", false),
            ("kernel/drivers/net/dummy.ko", "drivers/net/*", true),
            ("kernel/drivers/net/ethernet/intel/e1000/e1000.ko", "drivers/net/*", false),
        ];
        assert_eq!(cases, cases.map(|(module, folder, _)| (module, folder, is_in(module, folder))));
    }
}
