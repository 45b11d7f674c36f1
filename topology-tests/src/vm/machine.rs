//! A virtual machine, from what a test says of it to how its script ended.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::archive::Archive;
use super::kernel::{Kernel, Unpacked};
use super::program;
use super::qemu::{Boot, End, PROGRAM, Qemu};

/// What every machine has besides what it is told to: a shell, `ip`, and the loader of modules, which the kernel calls.
const ALWAYS: [&str; 4] = ["bash", "sh", "ip", "modprobe"];

/// A machine as it will be. Each method adds to it; [`Machine::run`] boots it.
#[derive(Clone, Debug)]
pub struct Machine {
    kernel: Kernel,
    programs: Vec<String>,
    files: Vec<(PathBuf, PathBuf)>,
    texts: Vec<(PathBuf, String)>,
    modules: Vec<String>,
    memory_mib: u32,
    processors: u32,
    arguments: String,
    deadline: Duration,
    script: String,
    aloud: bool,
}

/// A script that ran to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status; 128 and more for a signal, as a shell says it.
    pub status: i32,
    /// What it printed, standard error too.
    pub output: String,
}

/// Why a machine did not run a script to its end.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A program that runs here, not inside.
    #[error(
        "`{program}` cannot be run ({reason}), so no virtual machine can; apt-get install --no-install-recommends {package}"
    )]
    NoTool {
        /// The program.
        program: String,
        /// The system's reason.
        reason: String,
        /// Debian's package.
        package: String,
    },
    /// A program that ran here and failed.
    #[error("`{command}` failed, so there is no virtual machine: {said}")]
    Tool {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// A program that is to run inside.
    #[error("there is no program `{program}` on this machine to take along; {next}")]
    NoProgram {
        /// Its name.
        program: String,
        /// Where it comes from.
        next: String,
    },
    /// A program without one of its libraries.
    #[error(
        "program `{program}` loads {library}, which is not on this machine, so it would not run; install its package again"
    )]
    NoLibrary {
        /// The program.
        program: String,
        /// The library.
        library: String,
    },
    /// Debian does not offer this kernel here.
    #[error(
        "apt knows no Linux {kernel} under {package}; run apt-get update, with Debian 12 and its security updates among the sources"
    )]
    NoKernel {
        /// The kernel.
        kernel: Kernel,
        /// The package that was looked at.
        package: &'static str,
    },
    /// An unpacked package that is no kernel.
    #[error(
        "{folder}: no kernel with its modules is in there, so nothing can be booted; remove the folder and run this again"
    )]
    Package {
        /// The folder.
        folder: PathBuf,
    },
    /// A kernel that would not have what it is for.
    #[error(
        "Debian's source of Linux has no {missing} any more, so no kernel is built; see what it is now, and change topology-tests/kernels/tcp-ao.config"
    )]
    Options {
        /// Lines of the configuration.
        missing: String,
    },
    /// Nowhere to keep a kernel.
    #[error("neither XDG_CACHE_HOME nor HOME is set, so there is no place for unpacked kernels; set one")]
    NoCache,
    /// A file here.
    #[error("{path}: {reason}; the virtual machine cannot be made; see that it is there, and that there is room")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The script ran for too long.
    #[error("the virtual machine did not end within {} s and was killed; the end of its console:\n{console}", deadline.as_secs())]
    Late {
        /// How long it had.
        deadline: Duration,
        /// What the kernel and QEMU said.
        console: String,
    },
    /// QEMU or the kernel ended before the script.
    #[error(
        "the virtual machine ended before its script did; the end of its console (no memory? see Machine::memory_mib):\n{console}"
    )]
    Early {
        /// What the kernel and QEMU said.
        console: String,
    },
}

impl MachineError {
    /// A tool that cannot be started.
    pub(super) fn no_tool(program: &str, error: &io::Error) -> Self {
        let package = match program {
            PROGRAM => "qemu-system-x86",
            "depmod" => "kmod",
            "busybox" => "busybox-static",
            "apt-get" | "apt-cache" => "apt (Debian's kernels come from nowhere else)",
            "dpkg-deb" => "dpkg",
            "xz" => "xz-utils",
            "flex" | "bison" | "bc" => "bc bison flex libelf-dev",
            "strip" => "binutils",
            "ldd" => "libc-bin",
            other => other,
        };
        Self::NoTool { program: program.to_owned(), reason: error.to_string(), package: package.to_owned() }
    }
}

/// The error of a file or folder.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> MachineError {
    |error| MachineError::File { path: path.to_owned(), reason: error.to_string() }
}

/// What a command prints, which ends well.
pub(super) fn tool(command: &mut Command) -> Result<String, MachineError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| MachineError::no_tool(&name, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args()).take(8);
    let command = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    Err(MachineError::Tool { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

impl Machine {
    /// A machine with that kernel, one processor, 1 GiB, two minutes, and no program but bash, `ip`, `modprobe` and
    /// what busybox brings.
    #[must_use]
    pub fn debian(kernel: Kernel) -> Self {
        Self {
            kernel,
            programs: ALWAYS.map(str::to_owned).to_vec(),
            files: Vec::new(),
            texts: Vec::new(),
            modules: Vec::new(),
            memory_mib: 1024,
            processors: 1,
            arguments: String::new(),
            deadline: Duration::from_secs(120),
            script: String::new(),
            aloud: true,
        }
    }

    /// Takes a program along with its shared libraries: one of this workspace by its name, as it was built beside this
    /// one (`LINNET_PROGRAMS` names another folder); any other by its name or path. Of a script, its interpreter is
    /// another program.
    #[must_use]
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.programs.push(name.into());
        self
    }

    /// Takes a file or a folder along, to the same path.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.file_as(path.clone(), path)
    }

    /// Takes a file or a folder along, to another path.
    #[must_use]
    pub fn file_as(mut self, path: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), inside.into()));
        self
    }

    /// A file with this content.
    #[must_use]
    pub fn text(mut self, inside: impl Into<PathBuf>, content: impl Into<String>) -> Self {
        self.texts.push((inside.into(), content.into()));
        self
    }

    /// Loads a module before the script runs. Those that a device, a protocol or an expression of nftables needs, the
    /// kernel loads by itself.
    #[must_use]
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.modules.push(name.into());
        self
    }

    /// Its memory. All files are in it, twice for a moment while it boots.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// How many processors it has.
    #[must_use]
    pub fn processors(mut self, processors: u32) -> Self {
        self.processors = processors.max(1);
        self
    }

    /// A further argument on the kernel's command line.
    #[must_use]
    pub fn kernel_argument(mut self, argument: &str) -> Self {
        self.arguments = format!("{} {argument}", self.arguments).trim().to_owned();
        self
    }

    /// How long it may take from power on to the script's end.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What bash runs, as root, in `/root`.
    #[must_use]
    pub fn script(mut self, script: impl Into<String>) -> Self {
        self.script = script.into();
        self
    }

    /// Says nothing on standard output; without this, each line is there as it comes.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.aloud = false;
        self
    }

    /// Boots it and waits for the script's end.
    ///
    /// # Errors
    /// When the script does not run to its end. One that fails is not an error here: see [`Ran::status`].
    pub fn run(&self) -> Result<Ran, MachineError> {
        // Before the long work: what would be missing in the end.
        tool(Command::new(PROGRAM).arg("-version"))?;
        let kernel = Unpacked::get(self.kernel)?;
        let boot = Boot {
            image: &kernel.image,
            memory_mib: self.memory_mib,
            processors: self.processors,
            arguments: &self.arguments,
        };
        let mut qemu = Qemu::prepare(&boot)?;
        self.furnish(&kernel, &qemu)?;
        let mut output = String::new();
        let end = qemu.run(self.deadline, |line| {
            if self.aloud {
                println!("{line}");
            }
            output.push_str(line);
            output.push('\n');
        })?;
        match end {
            End::Status(status) => Ok(Ran { status, output }),
            End::Early => Err(MachineError::Early { console: qemu.console() }),
            End::Late => Err(MachineError::Late { deadline: self.deadline, console: qemu.console() }),
        }
    }

    /// Writes the machine's file system.
    fn furnish(&self, kernel: &Unpacked, qemu: &Qemu) -> Result<(), MachineError> {
        let path = qemu.archive();
        let written = at(&path);
        let file = File::create(&path).map_err(&written)?;
        let mut archive = Archive::new(BufWriter::new(file)).map_err(&written)?;
        for folder in ["/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/etc", "/var", "/opt", "/srv", "/mnt"] {
            archive.folder(Path::new(folder)).map_err(&written)?;
        }
        archive.device(Path::new("/dev/console"), (5, 1)).map_err(&written)?;
        for (inside, content) in &self.texts {
            archive.file(inside, 0o644, content.as_bytes()).map_err(&written)?;
        }
        for (source, inside) in &self.files {
            archive.copy(source, inside).map_err(at(source))?;
        }
        for name in &self.programs {
            program::embark(name, qemu.folder(), &mut archive)?;
        }
        // Busybox's programs come last in PATH: they are there where nothing better is.
        program::embark("busybox", qemu.folder(), &mut archive)?;
        for applet in tool(Command::new("busybox").arg("--list"))?.split_whitespace() {
            let link = Path::new("/busybox").join(applet);
            archive.link(&link, "/usr/bin/busybox").map_err(&written)?;
        }
        archive.link(Path::new("/var/run"), "/run").map_err(&written)?;
        archive.file(Path::new("/job/script"), 0o644, self.script.as_bytes()).map_err(&written)?;
        archive.file(Path::new("/job/modules"), 0o644, self.modules.join("\n").as_bytes()).map_err(&written)?;
        // Names of users, protocols and routing tables, as the programs know them here.
        for name in ["passwd", "group", "protocols", "services", "iproute2", "nsswitch.conf"] {
            let source = Path::new("/etc").join(name);
            if source.exists() {
                archive.copy(&source, &source).map_err(at(&source))?;
            }
        }
        kernel.embark(&mut archive)?;
        archive.file(Path::new("/init"), 0o755, include_bytes!("init.sh")).map_err(&written)?;
        archive.finish().map_err(&written)?;
        Ok(())
    }
}
