//! The file system that a machine starts with: a cpio archive, format "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst in Linux).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Top folders that Debian 12 merged into `/usr`: links here as there, so that a library has one path.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// An archive being written. What is put at a path twice is the first.
pub(super) struct Archive<W: Write> {
    out: W,
    inode: u32,
    seen: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    /// An archive with the links of a merged `/usr` and nothing else.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut archive = Self { out, inode: 0, seen: BTreeSet::new() };
        for name in MERGED {
            archive.folder(&Path::new("/usr").join(name))?;
            archive.entry(Path::new(name), 0o120_777, (0, 0), format!("usr/{name}").as_bytes())?;
            archive.seen.insert(PathBuf::from(name));
        }
        Ok(archive)
    }

    /// A folder, and those that it is in.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<()> {
        let path = merged(path);
        let mut above: Vec<_> = path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).collect();
        above.reverse();
        for folder in above {
            if self.seen.insert(folder.to_owned()) {
                self.entry(folder, 0o040_755, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    /// A file with this content. `mode`: its permissions.
    pub(super) fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.leaf(path, 0o100_000 | (mode & 0o7777), (0, 0), content)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.leaf(path, 0o120_777, (0, 0), target.as_bytes())
    }

    /// A character device.
    pub(super) fn device(&mut self, path: &Path, number: (u32, u32)) -> io::Result<()> {
        self.leaf(path, 0o020_600, number, &[])
    }

    /// Whether something is at that path already.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.seen.contains(&merged(path))
    }

    /// A file or a folder of this machine with all that is in it. Links become what they lead to; what is neither file
    /// nor folder is left out.
    pub(super) fn copy(&mut self, source: &Path, path: &Path) -> io::Result<()> {
        let about = std::fs::metadata(source)?;
        if about.is_dir() {
            self.folder(path)?;
            let mut names = std::fs::read_dir(source)?.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
            names.sort();
            return names.iter().try_for_each(|name| self.copy(&source.join(name), &path.join(name)));
        }
        if !about.is_file() || self.has(path) {
            return Ok(());
        }
        let mut content = Vec::new();
        File::open(source)?.read_to_end(&mut content)?;
        self.file(path, about.permissions().mode(), &content)
    }

    /// Writes the end.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry(Path::new("TRAILER!!!"), 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn leaf(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let path = merged(path);
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        if self.seen.insert(path.clone()) { self.entry(&path, mode, device, content) } else { Ok(()) }
    }

    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{}: 4 GiB or more", path.display()));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name = path.as_os_str().as_bytes();
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        self.inode += 1;
        // inode, mode, uid, gid, links, mtime, size, device (major, minor), its own number (major, minor), name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        let header = fields.iter().fold("070701".to_owned(), |header, field| format!("{header}{field:08x}"));
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        // Name and content each end on a multiple of four bytes, counted from the header's first.
        self.out.write_all(padding(header.len() + name.len() + 1))?;
        self.out.write_all(content)?;
        self.out.write_all(padding(content.len()))
    }
}

/// What is missing to a multiple of four.
fn padding(length: usize) -> &'static [u8] {
    &[0; 3][..length.wrapping_neg() % 4]
}

/// The path as an archive has it: relative to the root, without `.` and `..`, below `/usr` where Debian has it there.
fn merged(path: &Path) -> PathBuf {
    let plain: PathBuf = path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
        plain
    });
    let below = MERGED.iter().any(|name| plain.starts_with(name));
    if below { Path::new("usr").join(plain) } else { plain }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_written_is_what_cpio_reads() {
        let mut archive = Archive::new(Vec::new()).unwrap();
        archive.file(Path::new("/lib/x86/a.so"), 0o755, b"abcde").unwrap();
        archive.file(Path::new("/usr/lib/x86/a.so"), 0o755, b"the second at the same place").unwrap();
        archive.link(Path::new("/etc/../sbin/b"), "/usr/bin/c").unwrap();
        archive.folder(Path::new("/tmp")).unwrap();
        let bytes = archive.finish().unwrap();
        let mut cpio = Command::new("busybox");
        cpio.args(["cpio", "-t", "-v"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cpio = cpio.spawn().expect("busybox; install busybox-static");
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        // "-rwxr-xr-x 0/0  5 1970-01-01 00:00:00 usr/lib/x86/a.so"
        let short = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            format!("{} {} {}", words[0], words[2], words[5..].join(" "))
        };
        let listed: Vec<_> = listed.lines().map(short).collect();
        assert_eq!(
            listed,
            [
                "drwxr-xr-x 0 usr",
                "drwxr-xr-x 0 usr/bin",
                "lrwxrwxrwx 0 bin -> usr/bin",
                "drwxr-xr-x 0 usr/sbin",
                "lrwxrwxrwx 0 sbin -> usr/sbin",
                "drwxr-xr-x 0 usr/lib",
                "lrwxrwxrwx 0 lib -> usr/lib",
                "drwxr-xr-x 0 usr/lib64",
                "lrwxrwxrwx 0 lib64 -> usr/lib64",
                "drwxr-xr-x 0 usr/lib/x86",
                "-rwxr-xr-x 5 usr/lib/x86/a.so",
                "lrwxrwxrwx 0 usr/sbin/b -> /usr/bin/c",
                "drwxr-xr-x 0 tmp",
            ]
        );
    }
}
