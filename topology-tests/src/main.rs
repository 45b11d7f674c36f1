//! `lab`: runs containerlab topology files on network namespaces, and shows what Linnet does on them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use topology_tests::lab::{self, Entry, Lab, Member, Options};
use topology_tests::topology::Topology;

/// Runs containerlab topology files on network namespaces, with Debian's routers in place of images.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  lab up topology-tests/labs/two-racks.clab.yml
  lab exec spine -- vtysh -c 'show bgp summary'
  lab exec h1 -- linnet bgp summary
  lab exec h1:client-1 -- ping -c 3 10.244.3.20
  lab down two-racks"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a lab and leave it running
    Up {
        /// A *.clab.yml
        file: PathBuf,
        /// Stay, and end the lab with this program
        #[arg(long)]
        foreground: bool,
    },
    /// End labs: one by its own name, or all of a topology that were to stay
    Down {
        /// As `lab list` shows it, or the topology's name
        name: String,
    },
    /// Run a command in a node; without one, a shell
    Exec {
        /// Which lab, if more than one runs
        #[arg(long)]
        lab: Option<String>,
        /// A node, or NODE:NETNS for a network namespace that was made in it (a pod)
        node: String,
        /// What to run
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// List the labs that run
    List,
    /// Remove what labs left whose runner was killed
    Sweep,
    /// Check a topology file and change nothing
    Check {
        /// A *.clab.yml
        file: PathBuf,
    },
    /// Show Linnet's main job beside real routers; exit status 0 only if every check held
    Demo {
        /// Leave the lab running
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that it has in its own words already.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |words, cause| match words.as_str() {
        "" => cause,
        said if said.contains(&cause) => words,
        said => format!("{said}: {cause}"),
    })
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Up { file, foreground } => up(&file, foreground)?,
        Verb::Down { name } => down(&name)?,
        Verb::Exec { lab, node, command } => return exec(lab.as_deref(), &node, &command).map(|never| match never {}),
        Verb::List => list()?,
        Verb::Sweep => {
            let swept = lab::sweep()?;
            println!("{} removed{}", swept.len(), swept.iter().map(|name| format!("\n  {name}")).collect::<String>());
        }
        Verb::Check { file } => {
            let topology = Topology::read(&file)?;
            topology.notes.iter().for_each(|note| println!("{note}"));
            println!("{}: {} nodes, {} links", topology.name, topology.nodes.len(), topology.links.len());
        }
        Verb::Demo { keep } => {
            let held = topology_tests::demo::run(keep)?;
            return Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(file: &std::path::Path, foreground: bool) -> anyhow::Result<()> {
    let lab = Lab::up(file, &Options { keep: !foreground, ..Options::default() })?;
    lab.topology().notes.iter().for_each(|note| println!("{note}"));
    println!("lab {} runs: {} nodes", lab.name(), lab.nodes().count());
    println!("enter a node: lab exec --lab {0} NODE [-- COMMAND]\nend it:       lab down {0}", lab.name());
    if foreground {
        // Any signal that ends this process ends the lab: see the crate's documentation.
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

fn down(name: &str) -> anyhow::Result<()> {
    // By the topology's name, a lab of a test that runs beside must not be ended.
    let labs: Vec<_> = lab::find(name)?.into_iter().filter(|entry| entry.lab == name || entry.kept).collect();
    if labs.is_empty() {
        println!("no lab {name} runs");
    }
    for entry in labs {
        entry.end()?;
        println!("lab {} ended", entry.lab);
    }
    Ok(())
}

fn list() -> anyhow::Result<()> {
    let labs = lab::list()?;
    if labs.is_empty() {
        println!("no lab runs");
    }
    for entry in labs {
        let state = match (entry.lives(), entry.kept) {
            (true, true) => "kept".to_owned(),
            (true, false) => format!("ends with process {}", entry.runner.pid),
            (false, _) => "gone; `lab sweep` removes what is left".to_owned(),
        };
        let nodes: Vec<_> = entry.rooms.iter().map(|room| room.node.as_str()).filter(|name| !name.is_empty()).collect();
        println!("{}  {state}\n  {}", entry.lab, nodes.join(" "));
    }
    Ok(())
}

/// Becomes the command, so that its terminal, its signals and its exit status are the person's own.
fn exec(lab: Option<&str>, node: &str, command: &[String]) -> anyhow::Result<std::convert::Infallible> {
    let (node, netns) = node.split_once(':').map_or((node, None), |(node, netns)| (node, Some(netns)));
    let labs = match lab {
        Some(name) => lab::find(name)?,
        None => lab::list()?.into_iter().filter(Entry::lives).collect(),
    };
    let entry = match labs.as_slice() {
        [entry] => entry,
        [] => bail!(
            "no lab{} runs, so there is no node to enter; `lab up FILE` starts one",
            lab.map(|l| format!(" {l}")).unwrap_or_default()
        ),
        many => {
            let names: Vec<_> = many.iter().map(|entry| entry.lab.as_str()).collect();
            bail!("{} labs run, and the node could be in any; choose with --lab: {}", many.len(), names.join(", "))
        }
    };
    let names = || entry.rooms.iter().map(|room| room.node.as_str()).filter(|name| !name.is_empty());
    let Some(Member { process, env, .. }) = entry.rooms.iter().find(|room| room.node == node) else {
        bail!(
            "there is no node `{node}` in lab {}; its nodes are {}",
            entry.lab,
            names().collect::<Vec<_>>().join(", ")
        )
    };
    let mut entered: Command = lab::enter(process.pid, netns, &entry.programs);
    entered.envs(env);
    match command {
        [] => entered.arg("bash"),
        command => entered.args(command),
    };
    Err(entered.exec()).context("nsenter cannot be run; install util-linux")
}
