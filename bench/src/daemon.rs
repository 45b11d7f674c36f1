//! The daemons that are compared: where each is, how it is started, and the configuration it gets.
//!
//! All get the same: the peers passive, every route taken and told, a hold time longer than any run; routes into the kernel
//! only where the scenario is about that.

mod configuration;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::User;

use crate::process::Program;
use crate::scenario::{LOCAL4, Scenario};

/// A daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Daemon {
    /// linnetd.
    Linnet,
    /// BIRD 2, Debian package bird2.
    Bird,
    /// FRRouting's bgpd, with zebra where routes go into the kernel, Debian package frr.
    Frr,
    /// GoBGP, Debian package gobgpd.
    Gobgp,
    /// OpenBGPD, Debian package openbgpd.
    Openbgpd,
}

impl Daemon {
    /// Its name in tables, JSON and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linnet => "linnet",
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
        }
    }

    fn program(self, linnetd: &Path) -> PathBuf {
        match self {
            Self::Linnet => linnetd.to_owned(),
            Self::Bird => "/usr/sbin/bird".into(),
            Self::Frr => "/usr/lib/frr/bgpd".into(),
            Self::Gobgp => "/usr/bin/gobgpd".into(),
            Self::Openbgpd => "/usr/sbin/bgpd".into(),
        }
    }

    /// Whether it can write routes into this kernel: GoBGP only tells FRR's zebra, and OpenBGPD's own way is OpenBSD's.
    pub(crate) fn installs(self) -> bool {
        matches!(self, Self::Linnet | Self::Bird | Self::Frr)
    }

    fn missing(self) -> &'static str {
        match self {
            Self::Linnet => "build it: cargo build --release --package linnetd",
            Self::Bird => "apt-get install --no-install-recommends bird2",
            Self::Frr => "apt-get install --no-install-recommends frr",
            Self::Gobgp => "apt-get install --no-install-recommends gobgpd",
            Self::Openbgpd => "apt-get install --no-install-recommends openbgpd",
        }
    }

    /// What it says of its version, in one line.
    ///
    /// # Errors
    /// It is not there; the error says how to get it.
    pub(crate) fn version(self, linnetd: &Path) -> Result<String> {
        let program = self.program(linnetd);
        ensure!(program.exists(), "{} is not there; {}", program.display(), self.missing());
        let flag = if self == Self::Openbgpd { "-V" } else { "--version" };
        let output = Command::new(&program).arg(flag).output().with_context(|| format!("{}", program.display()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Writes its configuration into `directory` and returns the programs, each of which stays in the foreground.
    pub(crate) fn prepare(self, scenario: &Scenario, directory: &Path, linnetd: &Path) -> Result<Vec<Program>> {
        let file = directory.join(match self {
            Self::Linnet | Self::Gobgp => "daemon.toml",
            Self::Bird | Self::Frr | Self::Openbgpd => "daemon.conf",
        });
        let text = match self {
            Self::Linnet => configuration::linnet(scenario, directory),
            Self::Bird => configuration::bird(scenario),
            Self::Frr => configuration::frr(scenario),
            Self::Gobgp => configuration::gobgp(scenario),
            Self::Openbgpd => configuration::openbgpd(scenario, directory),
        };
        fs::write(&file, text).with_context(|| format!("{}", file.display()))?;
        let inside = |name: &str| directory.join(name).display().to_string();
        let conf = file.display().to_string();
        let mut programs = Vec::new();
        let arguments: Vec<String> = match self {
            Self::Linnet => vec!["--config".into(), conf],
            Self::Bird => {
                vec!["-f".into(), "-c".into(), conf, "-s".into(), inside("control"), "-P".into(), inside("pid")]
            }
            Self::Frr => {
                let kernel = scenario.fib.is_some();
                if kernel {
                    fs::write(directory.join("zebra.conf"), "frr defaults datacenter\n")?;
                }
                give_to("frr", directory)?;
                let common = format!(
                    "-P 0 -u frr -g frr --log stdout --log-level warnings --vty_socket {} -z {}",
                    inside(""),
                    inside("zebra")
                );
                let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
                if kernel {
                    let line =
                        format!("/usr/lib/frr/zebra -f {} -i {} {common}", inside("zebra.conf"), inside("zebra-pid"));
                    programs.push(Program { command: words(line), ready: Some(directory.join("zebra")) });
                }
                let listen: String = scenario.local_addresses().map(|own| format!(" -l {own}")).collect();
                let alone = if kernel { "" } else { " -Z" };
                words(format!("-f {conf} -i {} -p 179{listen}{alone} {common}", inside("pid")))
            }
            Self::Gobgp => {
                let words =
                    ["-t", "toml", "-l", "warn", "--api-hosts", "127.0.0.1:50051", "--pprof-disable", "-f", &conf];
                words.map(str::to_owned).to_vec()
            }
            Self::Openbgpd => {
                // It refuses a configuration that others may read, and locks its workers up in a folder that Debian's
                // package leaves to systemd.
                fs::set_permissions(&file, Permissions::from_mode(0o600))?;
                fs::create_dir_all("/run/openbgpd")?;
                vec!["-d".into(), "-f".into(), conf]
            }
        };
        let command = std::iter::once(self.program(linnetd).display().to_string()).chain(arguments).collect();
        programs.push(Program { command, ready: None });
        Ok(programs)
    }
}

/// Makes `directory` and what is in it the user's own: the daemon gives up root before it writes there.
fn give_to(user: &str, directory: &Path) -> Result<()> {
    let user = User::from_name(user)?.with_context(|| format!("no user {user}; its Debian package makes one"))?;
    for path in fs::read_dir(directory)?.flatten().map(|entry| entry.path()).chain([directory.to_owned()]) {
        chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// The daemon's router identifier.
const ROUTER_ID: std::net::Ipv4Addr = LOCAL4;
